"""torch.compile for decoder layers whose LoRA ranks differ and move.

Each layer is compiled by itself and all share one graph, in which the ranks are symbols: neither
modules of different ranks nor a change of ranks compiles anew. The trainer calls it once, after
`inject`.

Compiles seen: one for the first batch, one more when a second shape of batch comes (batch and
length become symbols then), each twice where the first layer's input needs no gradient.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.core.errors import ConfigError, HydraError


def compile_layers(model: nn.Module, backend: str | Callable[..., Any] = "inductor") -> int:
    """Have the decoder layers of `model` compiled at their first call, in place.

    Sets two process-wide options of torch._dynamo: shapes of parameters are not constants.

    Args:
        model: holds one `nn.ModuleList` named `layers`, with LoRA in it or not.
        backend: of torch.compile; tests use "eager".

    Returns:
        The number of layers.

    Raises:
        ConfigError: the model has no such list, or its base is in four bits.
        HydraError: inductor needs a C++ compiler on a CPU and there is none.
    """
    if getattr(model, "is_loaded_in_4bit", False):
        raise ConfigError(
            "Layers with a four-bit base are not compiled: it was never shown to be right.",
            "Choose runtime.base_precision=full, or train without compiling.",
        )
    owner = _owner_of_layers(model)
    on_cpu = next(owner.parameters()).device.type == "cpu"
    if backend == "inductor" and on_cpu and not _compiler():
        raise HydraError(
            "torch.compile needs a C++ compiler on a CPU, and none was found.",
            "Install g++ or clang, or name one in the environment variable CXX.",
        )
    dynamo: Any = torch._dynamo
    dynamo.config.force_parameter_static_shapes = False
    dynamo.config.force_nn_module_property_static_shapes = False
    layers: Any = owner.layers
    for layer in layers:
        layer.compile(backend=backend)
    # A resize makes new parameters, which bear no mark; the layers' owner runs uncompiled.
    owner.register_forward_pre_hook(lambda module, _: _mark_ranks(module))
    return len(layers)


def _mark_ranks(module: nn.Module) -> None:
    """Tell dynamo that the rank of each LoRA tensor is a symbol."""
    for a, b in lora_tensors(module).values():
        # A rank of 1 is always a constant of its own: dynamo knows no symbol for 0 and 1.
        if a.shape[0] > 1 and not hasattr(a, "_dynamo_dynamic_indices"):
            torch._dynamo.mark_dynamic(a, 0)
            torch._dynamo.mark_dynamic(b, 1)


def _owner_of_layers(model: nn.Module) -> nn.Module:
    owners = [m for m in model.modules() if isinstance(getattr(m, "layers", None), nn.ModuleList)]
    if len(owners) != 1:
        raise ConfigError(
            f"The model has {len(owners)} lists of layers, expected one: a language model's."
        )
    return owners[0]


def _compiler() -> str | None:
    names = (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl")
    return next((found for name in names if name and (found := shutil.which(name))), None)
