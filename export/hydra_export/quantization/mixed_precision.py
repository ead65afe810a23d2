"""The plan of a quantized decoder: which part gets how many bits, and its rounded weights.

The same plan serves every runtime, so that a preset means the same everywhere: which parts keep 8
bits (`sensitivity`), and codes and scales of the 4-bit ones (`rounding`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from hydra_export.graphs.llama_layers import is_llama
from hydra_export.graphs.stored import stacked
from hydra_export.quantization import sensitivity
from hydra_export.quantization.calibration import (
    Calibration,
    self_sampled,
    self_sampled_digest,
)
from hydra_export.quantization.gptq import (
    linear_units,
    round_by_forward,
    round_decoder,
    single_units,
)
from hydra_export.quantization.plan import (
    SHELF,
    QuantizationPlan,
    load_plan,
    plan_key,
    save_plan,
)
from hydra_export.quantization.unfinished import Unfinished
from hydra_mobile.adapters.int4_grid import Int4Weight, round_nearest
from hydra_mobile.bundle.interface import Log
from hydra_mobile.bundle.presets import Precision, Preset
from hydra_mobile.core.kept import kept

# Sequences on which parts are measured: the ranking needs fewer than the rounding.
_MEASURED_SEQUENCES = 12
# Graph structure, names and constants of the three programs.
_PROGRAM_OVERHEAD = 1_000_000


def plan_decoder(
    model: Any,
    preset: Preset,
    calibration: Calibration | None,
    image_size: int,
    log: Log,
    model_key: str = "",
) -> QuantizationPlan:
    """Decide the precision of each part, and round what gets 4 bits.

    What was measured and rounded on the same calibration for another runtime is taken from there.

    Args:
        model: the whole vision-language model, fp32 on the CPU; left as it was.
        preset: what is wanted; its `budget` says how many parts of the `sensitive` precision fit.
        calibration: what to measure on; None: the model writes text itself, if there is any need.
        image_size: side of the picture that the tower reads, for that text.
        log: gets a line for each step.
        model_key: hash of all that the model was loaded from, under which a plan is kept; "": it
            is not.
    """
    language_model, group = model.language_model, preset.group_size
    parts = dict(_parts(language_model))
    wanted: dict[str, Precision] = {"head": preset.head, "embedding": preset.embedding}
    precisions: dict[str, Precision] = {name: wanted.get(name, preset.decoder) for name in parts}
    fallbacks = []
    for name, shape in parts.items():
        if precisions[name] in ("w4", "w4a8") and shape[1] % group:
            precisions[name] = _eight(precisions[name])
            fallbacks.append(
                f"{name} has {shape[1]} inputs, no multiple of the group size {group}; "
                "its weights are 8-bit."
            )
    if not any(value in ("w4", "w4a8") for value in precisions.values()):
        return QuantizationPlan(precisions, fallbacks=fallbacks)

    digest = calibration.digest if calibration else self_sampled_digest(image_size)
    # Rounding to the nearest takes less time than reading.
    keeps = _is_calibrated(preset) and model_key and digest
    key = plan_key(model_key, preset, digest) if keeps else ""
    unfinished = Unfinished(key)

    def make() -> QuantizationPlan:
        return _made(model, preset, calibration, image_size, precisions, fallbacks, log, unfinished)

    if not key:
        return make()
    plan, reused = kept(SHELF, key, make=make, save=save_plan, load=load_plan, log=log)
    unfinished.remove()
    if reused:
        log(f"4-bit weights: those of an earlier export of this model ({SHELF}/{key})")
    return plan


def _is_calibrated(preset: Preset) -> bool:
    return preset.rounding != "nearest" or preset.sensitive is not None


def _made(
    model: Any,
    preset: Preset,
    calibration: Calibration | None,
    image_size: int,
    precisions: dict[str, Precision],
    fallbacks: list[str],
    log: Log,
    unfinished: Unfinished,
) -> QuantizationPlan:
    """Measure and round; arguments as for `plan_decoder`, with what the preset alone decides."""
    language_model = model.language_model
    parts = dict(_parts(language_model))
    if calibration is None and _is_calibrated(preset):
        log("Calibrating on images of random blobs and text that the model writes itself")
        calibration = self_sampled(model, image_size)
    details: dict[str, Any] = {
        "algorithm": "nearest"
        if preset.rounding == "nearest"
        else "GPTQ, columns in order; the nearest in rows where it is no better",
        "grid": "symmetric, -8..7, one bfloat16 scale of least squared error for each group",
        "group_size": preset.group_size,
        "calibration": calibration.source if calibration else "none",
    }
    by_hand = is_llama(language_model)
    if preset.sensitive and preset.budget and by_hand and calibration:
        details["mixed_precision"] = _mix(
            model, preset, calibration, parts, precisions, log, unfinished
        )
    rounded = _round(model, preset, precisions, calibration, details, log, unfinished)
    if unfinished.taken:
        log("part of it was measured and rounded by an export that was cut short")
    return QuantizationPlan(precisions, rounded, details, fallbacks)


def _mix(
    model: Any,
    preset: Preset,
    calibration: Calibration,
    parts: Mapping[str, tuple[int, int]],
    precisions: dict[str, Precision],
    log: Log,
    unfinished: Unfinished,
) -> dict[str, Any]:
    """Raise parts in `precisions` to 8 bits as far as the budget goes; return the facts."""
    assert preset.budget is not None
    spare = spare_bytes(model, preset, parts, precisions)
    if spare <= 0:
        return {"spare_bytes": spare, "kept_at_8_bits": [], "costs": []}
    log("Measuring what 4 bits cost in each part")
    began = time.perf_counter()
    costs = [
        cost
        for cost in sensitivity.measure(
            model.language_model,
            calibration.first(_MEASURED_SEQUENCES),
            preset.group_size,
            log,
            unfinished,
        )
        if precisions[cost.name] in ("w4", "w4a8")
    ]
    kept = sensitivity.keep_at_8_bits(costs, spare)
    for name in kept:
        precisions[name] = _eight(precisions[name])
    log(f"{len(kept)} of {len(costs)} parts keep 8 bits")
    return {
        "budget": preset.budget,
        "spare_bytes": spare,
        "kept_at_8_bits": sorted(kept),
        "seconds": round(time.perf_counter() - began, 1),
        "costs": [cost.to_dict() for cost in costs],
    }


def _round(
    model: Any,
    preset: Preset,
    precisions: Mapping[str, Precision],
    calibration: Calibration | None,
    details: dict[str, Any],
    log: Log,
    unfinished: Unfinished,
) -> dict[str, Int4Weight]:
    log("Rounding to 4 bits")
    began = time.perf_counter()
    rounded: dict[str, Int4Weight] = {}
    language_model, group = model.language_model, preset.group_size
    by_hand = is_llama(language_model)
    if precisions["embedding"] == "w4":
        table = language_model.model.embed_tokens.weight.detach()
        rounded["embedding"] = round_nearest(table, group)
    if calibration is None or preset.rounding == "nearest":
        for name, linears in _units(language_model):
            if precisions[name] == "w4a8":
                rounded[name] = round_nearest(stacked(linears), group)
    elif not by_hand:
        log("Rounding layer by layer through the text model's own forward")
        embeddings = calibration.embeddings
        rounded |= round_by_forward(
            language_model,
            lambda: model.row_text(embeddings),
            calibration.position_weights,
            precisions,
            group,
            log,
            unfinished,
        )
    else:
        embeddings, position_weights = calibration.embeddings, calibration.position_weights
        if "embedding" in rounded:
            embeddings = calibration.with_table(rounded["embedding"].values())
        rounded |= round_decoder(
            language_model, embeddings, position_weights, precisions, group, log, unfinished
        )
    details["seconds"] = round(time.perf_counter() - began, 1)
    errors = {name: weight.error for name, weight in rounded.items()}
    details["output_errors"] = {k: round(e, 5) for k, e in errors.items() if e is not None}
    if {"head", "embedding"} <= rounded.keys() and _is_tied(language_model):
        # One weight, rounded for the head: rows of the table lose less by that than a head that is
        # rounded to the nearest.
        rounded["embedding"] = rounded["head"]
    return rounded


def _is_tied(language_model: Any) -> bool:
    table, head = language_model.model.embed_tokens.weight, language_model.lm_head.weight
    return bool(table.data_ptr() == head.data_ptr())


def spare_bytes(
    model: Any,
    preset: Preset,
    parts: Mapping[str, tuple[int, int]],
    precisions: Mapping[str, Precision],
) -> int:
    """Return the bytes that the budget leaves; less than 0 where it cannot be kept.

    The budget is a share of what the three programs take with all weights in fp16. What is no
    linear in the vision part, such as convolutions, counts as fp32, which one runtime keeps.
    """
    assert preset.budget is not None
    group = preset.group_size
    total = half = 0
    for name, shape in parts.items():
        total += sensitivity.bytes_at(precisions[name], shape, group)
        half += sensitivity.bytes_at("fp16", shape, group)
    for name, module in (("vision", model.vision_tower), ("projector", model.projector)):
        others = sum(p.numel() for p in module.parameters())
        for linear in (m for m in module.modules() if isinstance(m, nn.Linear)):
            total += sensitivity.bytes_at(getattr(preset, name), linear.weight.shape, group)
            half += 2 * linear.weight.numel()
            others -= linear.weight.numel()
        total += 4 * others
        half += 2 * others
    return int(preset.budget * half) - total - _PROGRAM_OVERHEAD


def _eight(precision: Precision) -> Precision:
    return "w8" if precision == "w4" else "w8a8"


def _units(language_model: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield every unit of the layers and the head, with its linears."""
    by_hand = is_llama(language_model)
    for index, layer in enumerate(language_model.model.layers):
        yield from (linear_units if by_hand else single_units)(layer, index).items()
    yield "head", (language_model.lm_head,)


def _parts(language_model: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every unit, the head and the embedding with their shapes."""
    for name, linears in _units(language_model):
        yield name, (sum(part.out_features for part in linears), linears[0].in_features)
    rows, columns = language_model.model.embed_tokens.weight.shape
    yield "embedding", (rows, columns)
