"""Target CoreML: three `.mlpackage` folders for iPhones and Macs, made on any machine.

`vision_encoder` has one function; `token_embedding` and `text_decoder` have two, `prefill` with
`max_prefill` rows and `decode` with one. The cache goes in and its new rows come out as tensors;
CoreML's own state is not used, since stateful programs break on devices.

Each package is read back when it is written: interface, and every weight against its source. What a
program computes is checked by `hydra-mobile verify`, on Apple hardware or by interpretation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hydra_export.graphs.embedding import TokenEmbedding
from hydra_export.graphs.stateless_decoder import StatelessDecoder
from hydra_export.graphs.vision import VisionEncoder
from hydra_export.targets.coreml.check import compare_weights, interface_of
from hydra_export.targets.coreml.package import MAIN, Call, Compute, write_package
from hydra_mobile.bundle.interface import (
    TEXT_DECODER,
    TOKEN_EMBEDDING,
    VISION_ENCODER,
    Limits,
    Log,
    TargetResult,
)
from hydra_mobile.bundle.presets import Preset
from hydra_mobile.models.vision_language import head_dim
from hydra_mobile.runtimes.coreml.availability import INTERPRETED
from hydra_mobile.runtimes.coreml.program import SPEC, WEIGHTS, read_program

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel

PREFILL, DECODE = "prefill", "decode"

#: Part of a preset -> package, and the attributes of its module that the part is.
_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vision": (VISION_ENCODER, ("tower",)),
    "projector": (VISION_ENCODER, ("projector",)),
    "embedding": (TOKEN_EMBEDDING, ("table",)),
    "decoder": (TEXT_DECODER, ("layers",)),
    "head": (TEXT_DECODER, ("head",)),
}


def write_program(
    model: VisionLanguageModel,
    preset: Preset,
    folder: Path,
    limits: Limits,
    log: Log,
) -> TargetResult:
    """Write the three packages of `model` into `folder`; see `Target.write`.

    Raises:
        ParityError: a package that was read back does not hold the weights of the model.
    """
    model = model.eval().requires_grad_(False)
    compute, int8, fallbacks = _what_coreml_can(preset)
    modules, calls, outputs = _graphs(model, limits)
    files: dict[str, str] = {}
    details: dict[str, Any] = {
        "execution": INTERPRETED,
        "minimum_system": "iOS 18, macOS 15",
        "cache": _cache(model, limits, compute[TEXT_DECODER]),
        "compute": dict(compute),
        "interface": {},
        "weights": {},
        "seconds": {},
    }
    for role in list(modules):
        started = time.perf_counter()
        module = modules.pop(role)
        path = folder / f"{role}.mlpackage"
        used = write_package(module, calls[role], outputs[role], compute[role], int8[role], path)
        facts = compare_weights(path, module, used)
        details["weights"][role] = facts
        details["interface"][role] = interface_of(read_program(path))
        details["seconds"][role] = round(time.perf_counter() - started, 2)
        files[role] = f"{path.name}/Manifest.json"
        files[f"{role}_spec"] = f"{path.name}/{SPEC}"
        files[f"{role}_weights"] = f"{path.name}/{WEIGHTS}"
        log(
            f"{path.name}: {(path / WEIGHTS).stat().st_size / 1e6:.1f} MB of weights in "
            f"{details['seconds'][role]:.1f} s; {facts['compared']} tensors agree with their source"
        )
    return TargetResult(
        files=files,
        details=details,
        fallbacks=fallbacks,
    )


def _graphs(
    model: VisionLanguageModel, limits: Limits
) -> tuple[dict[str, nn.Module], dict[str, list[Call]], dict[str, Sequence[str]]]:
    """Return module, calls and names of outputs of each package."""
    text = model.config.text_config
    size = model.image_size
    lengths = {PREFILL: limits.max_prefill, DECODE: 1}
    cache = (text.num_hidden_layers, text.num_key_value_heads, limits.max_context, head_dim(text))
    modules: dict[str, nn.Module] = {
        VISION_ENCODER: VisionEncoder(model).eval(),
        TOKEN_EMBEDDING: TokenEmbedding(model.language_model).eval(),
        TEXT_DECODER: StatelessDecoder(
            model.language_model, limits.max_context, limits.max_prefill
        ).eval(),
    }
    calls = {
        VISION_ENCODER: [Call(MAIN, {"pixels": torch.zeros(1, 3, size, size)})],
        TOKEN_EMBEDDING: [
            Call(name, {"ids": torch.zeros(1, length, dtype=torch.int32)})
            for name, length in lengths.items()
        ],
        TEXT_DECODER: [
            Call(
                name,
                {
                    "embeddings": torch.zeros(1, length, text.hidden_size),
                    "position": torch.zeros(1, dtype=torch.int32),
                    "count": torch.ones(1, dtype=torch.int32),
                    # Two tensors: one that is given twice would be traced as one input.
                    "keys": torch.zeros(cache),
                    "values": torch.zeros(cache),
                },
            )
            for name, length in lengths.items()
        ],
    }
    outputs: dict[str, Sequence[str]] = {
        VISION_ENCODER: ("image_embeddings",),
        TOKEN_EMBEDDING: ("token_embeddings",),
        TEXT_DECODER: ("logits", "new_keys", "new_values"),
    }
    return modules, calls, outputs


def _cache(model: VisionLanguageModel, limits: Limits, compute: Compute) -> dict[str, Any]:
    text = model.config.text_config
    return {
        "shape": [
            text.num_hidden_layers,
            text.num_key_value_heads,
            limits.max_context,
            head_dim(text),
        ],
        "dtype": compute,
        "protocol": "pass zeros at first; after each call write the first `count` rows of new_keys "
        "and new_values at `position` along the third dimension, and add `count` to `position`",
    }


def _what_coreml_can(
    preset: Preset,
) -> tuple[dict[str, Compute], dict[str, list[str]], list[str]]:
    """Return the arithmetic of each package, its parts with int8 weights, and what fell back."""
    values = preset.to_dict()
    compute: dict[str, Compute] = {}
    int8: dict[str, list[str]] = {}
    fallbacks = []
    for package in (VISION_ENCODER, TOKEN_EMBEDDING, TEXT_DECODER):
        parts = {part: values[part] for part, (where, _) in _PARTS.items() if where == package}
        compute[package] = "fp32" if set(parts.values()) == {"fp32"} else "fp16"
        int8[package] = []
        for part, wanted in parts.items():
            if wanted == "fp32" and compute[package] != "fp32":
                fallbacks.append(
                    f"{part}: fp32 beside reduced precision in one program; it is fp16."
                )
            # 4-bit programs were wrong on some devices, and activations stay as they are computed.
            if wanted in ("w8", "w8a8", "w4", "w4a8"):
                int8[package] += _PARTS[part][1]
                if wanted != "w8":
                    fallbacks.append(f"{part}: {wanted} in CoreML is w8, with fp16 activations.")
    return compute, int8, fallbacks
