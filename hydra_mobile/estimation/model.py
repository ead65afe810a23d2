"""A model as it would train, with shapes and names but without memory.

Its tensors are address space that nobody writes to, so that a model of any size can be simulated
on a laptop. Does what `TrainingModel` does to a real one on a GPU: precision, freezing, adapters.
Never computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import HydraError
from hydra_mobile.models.families import find_family
from hydra_mobile.models.four_bit import SKIP
from hydra_mobile.models.on_meta import on_meta
from hydra_mobile.models.vision_language import VisionLanguageModel
from hydra_mobile.training.adapted_modules import adapted_modules

PARTS = ("vision tower", "projector", "language model", "adapters")


@dataclass(frozen=True)
class PartCount:
    """Parameters of one part.

    Attributes:
        total: all of them.
        stage1: those that receive gradients in stage I.
        stage2: those that receive gradients in stage II.
    """

    total: int
    stage1: int
    stage2: int


def part_counts(config: Any, train: TrainConfig) -> dict[str, PartCount]:
    """Count parameters by part: LoRA and projector are two numbers, never one.

    Adapters count as the budget, what uniform LoRA of rank `ranks.r_ref` has: no policy exceeds it
    but adalora, which begins above it and ends there.
    """
    model = empty_model(config)
    full = train.ranks.policy == "full"
    adapters = (
        0 if full else Budget.of(model.whole, adapted_modules(model), train.ranks.r_ref).reference
    )
    tower, projector, language = (
        sum(p.numel() for p in part.parameters())
        for part in (model.vision_tower, model.projector, model.language_model)
    )
    values = (
        PartCount(tower, 0, 0),
        PartCount(projector, projector, projector),
        PartCount(language, 0, language if full else 0),
        PartCount(adapters, 0, adapters),
    )
    return dict(zip(PARTS, values, strict=True))


def planned_model(config: Any, train: TrainConfig, stage: str) -> Any:
    """Return the model of a stage, adapters in.

    Args:
        config: of the base.
        train: the run.
        stage: "stage1" trains the projector alone, "stage2" adapters or the language model too.

    Raises:
        HydraError: this system gives out no address space without memory behind it.
    """
    model = empty_model(config)
    full = train.ranks.policy == "full"
    model.requires_grad_(False)
    if computes_in_bf16(train):
        model.vision_tower.to(torch.bfloat16)
        if not full:
            model.language_model.to(torch.bfloat16)
    model.projector.requires_grad_(True)
    if stage == "stage2" and full:
        model.language_model.requires_grad_(True)
    elif stage == "stage2":
        ranks = train.ranks
        rank_map = RankMap(dict.fromkeys(adapted_modules(model), ranks.r_ref))
        inject(
            model.whole,
            rank_map,
            r_ref=ranks.r_ref,
            alpha_ref=ranks.alpha_ref,
            dropout=ranks.dropout,
        )
        for parameter in lora_parameters(model.whole).values():
            # On the meta device peft leaves them in the base's dtype; they train in fp32.
            parameter.data = parameter.data.float()
    try:
        model.to_empty(device="cpu")
    except RuntimeError as error:
        raise HydraError(
            f"No address space for a model of this size: {error}",
            "Lift the limit on virtual memory (ulimit -v, or the system's overcommit policy); "
            "no memory is used.",
        ) from error
    # A head that is the embedding table got space of its own.
    model.tie_weights()
    return model


def computes_in_bf16(train: TrainConfig) -> bool:
    """Return whether a GPU would compute in bf16; `auto` is taken for a GPU that can."""
    return train.runtime.precision != "fp32"


def set_checkpointing(model: Any, wanted: bool) -> None:
    """Switch gradient checkpointing as `TrainingModel` does."""
    language = model.language_model
    if wanted:
        language.activation_checkpointing_enable({"use_reentrant": False})
    else:
        language.activation_checkpointing_disable()


@dataclass(frozen=True)
class FrozenSizes:
    """What a 4-bit base or sharding would change, in bytes unless said otherwise.

    Attributes:
        linears: weights of linears that a 4-bit base packs.
        linear_parameters: how many numbers those are.
        largest_linear: parameters of the largest of them.
        layers: frozen weights of the decoder's layers, which FSDP shares.
        largest_layer: frozen weights of one layer.
    """

    linears: int
    linear_parameters: int
    largest_linear: int
    layers: int
    largest_layer: int


def frozen_sizes(model: Any) -> FrozenSizes:
    """Measure a model from `planned_model`."""
    weights = [
        module.weight
        for name, module in model.language_model.named_modules()
        if type(module) is nn.Linear
        and not module.weight.requires_grad
        and not set(name.split(".")) & set(SKIP)
    ]
    layers = [
        sum(_bytes(p) for p in layer.parameters() if not p.requires_grad)
        for layer in model.language_model.model.layers
    ]
    return FrozenSizes(
        linears=sum(map(_bytes, weights)),
        linear_parameters=sum(w.numel() for w in weights),
        largest_linear=max((w.numel() for w in weights), default=0),
        layers=sum(layers),
        largest_layer=max(layers, default=0),
    )


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def empty_model(config: Any) -> VisionLanguageModel:
    """Return the model without memory behind its weights."""
    found = find_family({"model_type": config.model_type})
    assert found is not None, config.model_type
    return on_meta(lambda: found.empty_model(config))
