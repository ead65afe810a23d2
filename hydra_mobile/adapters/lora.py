"""LoRA layers in a model, at the ranks of a map.

Injection by peft, initialization by us. Every module computes W x + s B A x with the same s =
alpha_ref / r_ref whatever its rank, so that changing a rank does not rescale the function; a
compensation of rates gives each rank a scale of its own (`compensation.py`). A comes from a private
generator seeded by (seed, module name): the global random stream is not consumed, and a module's
start does not depend on the other modules. B starts at zero.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from hydra_mobile.adapters.compensation import Compensate, scale_at, size_at
from hydra_mobile.adapters.lora_layers import ADAPTER, adapted_linears, lora_layers, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.registry import nearest


def inject(
    model: nn.Module,
    rank_map: RankMap,
    *,
    r_ref: int,
    alpha_ref: float,
    dropout: float = 0.0,
    seed: int = 0,
    compensate: Compensate = "neither",
) -> None:
    """Wrap the map's linears with LoRA, in place.

    The wrapped linears become frozen; A and B are fp32 and trainable whatever the base's dtype.
    `requires_grad` of every other parameter stays as it was (peft alone would freeze them all).

    Args:
        model: the base model, without LoRA.
        rank_map: rank of each linear, by fully qualified name.
        r_ref: reference rank; with `alpha_ref` it gives the scale alpha_ref / r_ref of all.
        alpha_ref: see `r_ref`.
        dropout: probability of dropout on the input of A.
        seed: seeds A, together with each module's name.
        compensate: what of a module falls as r_ref / rank.

    Raises:
        ConfigError: a name is not a linear of the model, or is the end of another module's name.
    """
    if lora_layers(model):
        raise ConfigError("The model already carries LoRA layers.", "Call `remove` first.")
    _require_exact_names(model, rank_map)
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    config = lora_config(rank_map, r_ref=r_ref, alpha_ref=alpha_ref, dropout=dropout)
    # peft initializes A from the global generator before we overwrite it.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, model, ADAPTER)
    frozen = {f"{name}.{kind}" for name in rank_map for kind in ("weight", "bias")}
    for name, parameter in model.named_parameters():
        base_name = name.replace(".base_layer.", ".")
        if base_name in trainable:
            parameter.requires_grad_(trainable[base_name] and base_name not in frozen)
    for name, layer in lora_layers(model).items():
        rank = rank_map[name]
        # alpha_m / r_m may differ from the scale in the last bit; all modules share one number.
        layer.scaling[ADAPTER] = scale_at(rank, r_ref, alpha_ref, compensate)
        _initialize(layer, name, seed, size_at(rank, r_ref, compensate))
    found = live_rank_map(model)
    if found != rank_map:
        wrong = sorted(set(found.items()) ^ set(rank_map.items()))[:4]
        raise RuntimeError(f"peft built other ranks than the map asks for: {wrong}")


def lora_config(
    rank_map: RankMap, *, r_ref: int, alpha_ref: float, dropout: float = 0.0
) -> LoraConfig:
    """Return peft's configuration that builds `rank_map` at the scale alpha_ref / r_ref."""
    patterns = {re.escape(name): rank for name, rank in rank_map.items()}
    scale = alpha_ref / r_ref
    return LoraConfig(
        r=max(rank_map.values()),
        lora_alpha=alpha_ref,
        # A list is compared literally, the keys of the patterns are regular expressions.
        target_modules=sorted(rank_map),
        rank_pattern=patterns,
        alpha_pattern={key: scale * rank for key, rank in patterns.items()},
        lora_dropout=dropout,
        bias="none",
    )


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the LoRA tensors as `<module name>.lora_A.weight` and `.lora_B.weight`."""
    named: dict[str, nn.Parameter] = {}
    for name, (a, b) in lora_tensors(model).items():
        named[f"{name}.lora_A.weight"] = a
        named[f"{name}.lora_B.weight"] = b
    return named


def live_rank_map(model: nn.Module) -> RankMap:
    """Return the ranks that the model's LoRA tensors really have."""
    return RankMap({name: a.shape[0] for name, (a, _) in lora_tensors(model).items()})


def extract_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the LoRA tensors on the CPU, named as in `lora_parameters`."""
    return {n: p.detach().cpu().clone() for n, p in lora_parameters(model).items()}


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy tensors from `extract_state` into a model injected at the same ranks.

    Raises:
        ArtifactError: names or shapes differ.
    """
    parameters = lora_parameters(model)
    differing = sorted(set(parameters) ^ set(state))
    if differing:
        raise ArtifactError(
            f"The saved LoRA tensors are not those of the model: {differing[:4]} differ."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != state[name].shape:
                raise ArtifactError(
                    f"`{name}` was saved with shape {tuple(state[name].shape)}, the model has "
                    f"{tuple(parameter.shape)}.",
                    "Inject at the saved rank map before loading.",
                )
            parameter.copy_(state[name])


def remove(model: nn.Module) -> None:
    """Take the LoRA layers out again, in place; the base weights were never changed."""
    for name, layer in lora_layers(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def initial_a(name: str, rank: int, in_features: int, seed: int) -> Tensor:
    """Return the starting A of a module, shape (rank, in_features), fp32.

    Uniform in +-1/sqrt(in_features), as peft does (Kaiming uniform with a = sqrt 5), from a
    generator of its own.
    """
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    bound = 1.0 / math.sqrt(in_features)
    return torch.empty(rank, in_features).uniform_(-bound, bound, generator=generator)


def weights_sha256(model: nn.Module) -> str:
    """Return a hash of a model's base weights: names, types, shapes and bytes, LoRA left out.

    The same for the bare base and for the base with LoRA in it. It differs from the hash of the
    base's files, which `identity.base_identity` gives.
    """
    digest = hashlib.sha256()
    of_lora = set()
    for name in live_rank_map(model):
        of_lora |= {f"{name}.lora_{side}.default.weight" for side in "AB"}
    tensors: dict[str, Tensor] = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if name not in of_lora
    }
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def _initialize(layer: Any, name: str, seed: int, size: float) -> None:
    a, b = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
    rank, in_features = a.weight.shape
    device = a.weight.device
    if device.type == "meta":
        return
    a.weight = nn.Parameter((size * initial_a(name, rank, in_features, seed)).to(device))
    b.weight = nn.Parameter(torch.zeros(b.weight.shape, dtype=torch.float32, device=device))


def _require_exact_names(model: nn.Module, rank_map: RankMap) -> None:
    """Raise unless peft's matching by the end of the name hits exactly the map's modules."""
    if not rank_map:
        raise ConfigError("The rank map is empty: there is nothing to train.")
    linears = adapted_linears(model)
    for name in rank_map:
        if name not in linears:
            raise ConfigError(
                f"`{name}` is not a linear module of the model.", nearest(name, linears)
            )
    for name, _ in model.named_modules():
        parts = name.split(".")
        for start in range(1, len(parts)):
            if ".".join(parts[start:]) in rank_map:
                raise ConfigError(
                    f"peft would take `{name}` for `{'.'.join(parts[start:])}`: it matches "
                    "the end of module names.",
                    "Rename the outer module, so that no name is the end of another.",
                )
