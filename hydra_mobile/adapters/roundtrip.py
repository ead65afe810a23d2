"""Proof that a saved adapter says to stock peft what we meant.

peft ignores keys that match nothing and matches names by their end, so a wrong file loads without
complaint. Here the folder is loaded with `PeftModel.from_pretrained` on a skeleton of the base and
every module is compared.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora_layers import ADAPTER, adapted_linears, lora_layers, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError

# Folding and unfolding B costs two roundings in fp32, far below this.
RELATIVE_TOLERANCE = 1e-5


def verify(folder: Path, model: nn.Module, rank_map: RankMap, budget: Budget) -> None:
    """Load `folder` with stock peft and compare it with the live LoRA of `model`.

    Args:
        folder: an adapter folder.
        model: carries the LoRA that was saved.
        rank_map: the ranks expected.
        budget: the parameter budget.

    Raises:
        ArtifactError: another set of modules, another rank, another delta W or another parameter
            count than in the live model.
    """
    try:
        with warnings.catch_warnings():
            # peft warns where a key matches nothing; here that is an error.
            warnings.simplefilter("error", RuntimeWarning)
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            # Building layers draws from the global random stream, which belongs to training.
            with torch.random.fork_rng(devices=[]):
                loaded = PeftModel.from_pretrained(skeleton(model), folder, torch_device="cpu")
    except Exception as error:
        raise ArtifactError(
            f"Stock peft cannot load the adapter that was to be {folder.name}: {error}"
        ) from error
    inner = loaded.base_model.model
    layers, tensors = lora_layers(inner), lora_tensors(inner)
    wrong = sorted(set(layers) ^ set(rank_map))
    if wrong:
        raise ArtifactError(f"Stock peft adapts other modules than were trained: {wrong[:4]}.")
    trained = lora_layers(model)
    for name, (live_a, live_b) in lora_tensors(model).items():
        a, b = tensors[name]
        if a.shape[0] != rank_map[name]:
            raise ArtifactError(
                f"Stock peft reads rank {a.shape[0]} for `{name}`, trained was {rank_map[name]}."
            )
        with torch.no_grad():
            expected = live_b.float().cpu() @ live_a.float().cpu()
            expected *= trained[name].scaling[ADAPTER]
            off = (layers[name].scaling[ADAPTER] * (b @ a) - expected).abs().max().item()
            largest = expected.abs().max().item()
        # `not <=` also catches a NaN.
        if not off <= RELATIVE_TOLERANCE * largest + 1e-12:
            raise ArtifactError(
                f"Stock peft reads another update for `{name}`: off by {off:.3g}, "
                f"largest entry {largest:.3g}."
            )
    total = sum(a.numel() + b.numel() for a, b in tensors.values())
    if total != budget.cost_of(rank_map):
        raise ArtifactError(
            f"Stock peft reads {total:,} LoRA parameters, the budget has "
            f"{budget.cost_of(rank_map):,}."
        )


def skeleton(model: nn.Module) -> nn.Module:
    """Return the module tree of the base with linears of the right shapes and no memory.

    Every linear's weight is one zero seen at all places; other modules are empty containers.
    LoRA layers are looked through.
    """
    linears = adapted_linears(model)
    wrapped = tuple(f"{name}." for name in lora_layers(model))
    root = nn.Module()
    for name, _ in model.named_modules():
        if not name or (wrapped and name.startswith(wrapped)):
            continue
        parent, _, child = name.rpartition(".")
        root.get_submodule(parent).add_module(child, _hollow(linears.get(name)))
    return root


def _hollow(linear: nn.Linear | None) -> nn.Module:
    if linear is None:
        return nn.Module()
    hollow = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    zero = torch.zeros(1).expand(linear.out_features, linear.in_features)
    hollow.weight = nn.Parameter(zero, requires_grad=False)
    return hollow
