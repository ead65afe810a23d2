"""Frozen linears in four bits, as QLoRA trains on: bitsandbytes' NF4 with double quantization.

The trainer calls it between loading a base and injecting adapters.

Dettmers et al. 2023, QLoRA (arXiv:2305.14314): each block of 64 weights shares a scale, scales
are themselves kept in 8 bits; 4.13 bits a weight in all. Exports and merges do not use this: they
read the base's own weights from disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hydra_mobile.core.errors import ConfigError, HydraError

#: Parts of module names that stay as they are: the head is also the embedding table of most
#: bases, tower and projector are small and wanted exact.
SKIP = ("lm_head", "vision_tower", "projector")
# Weights that share a scale, along the inputs.
_BLOCK = 64


def quantize_linears(
    model: nn.Module,
    skip: Sequence[str] = SKIP,
    *,
    inside: str = "",
    compute_dtype: torch.dtype,
    device: torch.device | None = None,
) -> list[str]:
    """Replace the frozen linears of `model` by four-bit ones, in place, one after the other.

    On a CPU a linear whose inputs are no multiple of 64 stays as it is: bitsandbytes 0.50 expands
    it there with the scales of other blocks (a quarter of the weights' size off, measured).

    Also marks the model as peft expects it, so `inject` builds LoRA layers for four-bit bases:
    `model` must be the object that adapters are injected into.

    Args:
        model: the base, without adapters.
        skip: linears with one of these parts in their name stay.
        inside: linears whose names begin otherwise stay too.
        compute_dtype: weights are expanded to it for each product; inputs are cast to it and
            outputs back.
        device: where the four-bit weights go; None: where each weight is. Name the GPU here to
            move a base that would not fit on it whole.

    Returns:
        The names of the linears that were replaced.

    Raises:
        HydraError: bitsandbytes is not installed.
        ConfigError: a linear to replace is trained, the model carries adapters, or there is none.
    """
    bitsandbytes = _bitsandbytes()
    names = [n for n in _replaceable(model, skip, inside) if _holds(model.get_submodule(n), device)]
    if not names:
        raise ConfigError("The model has no linear to keep in four bits.")
    for name in names:
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, child, _four_bit(bitsandbytes, getattr(owner, child), compute_dtype, device))
    # peft asks the model, not its layers.
    model.is_loaded_in_4bit = True  # type: ignore[assignment]
    return names


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ModuleNotFoundError:
        raise HydraError(
            "The package `bitsandbytes` is not installed.",
            'Install it with: pip install "hydra-mobile[bitsandbytes]"',
        ) from None
    return bitsandbytes


def _replaceable(model: nn.Module, skip: Sequence[str], inside: str) -> list[str]:
    """Return the names of the linears inside `inside` and outside `skip`."""
    if any(".lora_A." in f".{name}." for name, _ in model.named_modules()):
        raise ConfigError(
            "The model carries adapters already.", "Quantize the base before injecting them."
        )
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and name.startswith(inside)
        and not set(name.split(".")) & set(skip)
    ]
    for name in names:
        if any(p.requires_grad for p in model.get_submodule(name).parameters()):
            raise ConfigError(
                f"`{name}` is trained, and four-bit weights cannot be.",
                "Freeze it first, or train with runtime.base_precision=full.",
            )
    return names


def _holds(linear: nn.Module, device: torch.device | None) -> bool:
    """Return whether bitsandbytes gives a linear's weights back right on its device."""
    weight: Any = linear.weight
    return (device or weight.device).type != "cpu" or weight.shape[1] % _BLOCK == 0


def _four_bit(
    bitsandbytes: Any, linear: nn.Linear, compute_dtype: torch.dtype, device: torch.device | None
) -> nn.Module:
    # On the meta device: the layer's own weight is never wanted.
    layer: nn.Module = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=compute_dtype,
        device="meta",
    )
    weight = bitsandbytes.nn.Params4bit(
        linear.weight.detach(),
        requires_grad=False,
        compress_statistics=True,
        quant_type="nf4",
        module=layer,
    )
    layer.weight = weight
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    # On CPUs with bf16 instructions the layer would repack its weights for good at the first
    # product in eval mode: scales lose their second quantization and become bf16, and widths that
    # are no multiple of a block crash (bitsandbytes 0.50).
    layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    # Moving to a device is what quantizes.
    return layer.to(device or linear.weight.device).train(linear.training)
