"""4-bit weights rounded so that the layer's output, and not each weight, stays close.

One grid for every runtime (`hydra_mobile.adapters.int4_grid`). A group's scale is the candidate
with the least squared error, inputs weighted by how much they matter. Rounding to the nearest costs
a small model much; GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1) rounds one input column at
a time and lets the columns that are still free make up for the error. Rows where that did not help
on the calibration keep the nearest.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hydra_export.graphs.stored import stacked
from hydra_export.quantization.unfinished import TimeLeft, Unfinished
from hydra_mobile.adapters.int4_grid import (
    Int4Weight,
    best_scales,
    in_parts,
    on_grid,
    round_nearest,
)

# Part of the mean curvature that is added to each input's own: inputs that the calibration never
# saw keep some weight.
_DAMPING = 0.02


def round_int8(weight: Tensor) -> Tensor:
    """Return a weight [out, in] as 8-bit codes with one scale for each row would hold it."""
    scale = (weight.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-10)
    return (weight / scale).round_().clamp_(-127, 127) * scale


def output_error(weight: Tensor, rounded: Tensor, curvature: Tensor) -> Tensor:
    """Return for each row the squared output error [out] over the inputs behind `curvature`."""
    difference = rounded - weight
    return ((difference @ curvature) * difference).sum(-1)


def round_calibrated(weight: Tensor, curvature: Tensor, group: int) -> Int4Weight:
    """Round a weight [out, in] column by column; no row's output error exceeds the nearest's.

    Args:
        weight: float; not changed.
        curvature: X^T X [in, in] of the inputs; its diagonal is damped here.
        group: inputs that share a scale; it must divide the number of inputs.
    """
    damped = curvature.clone()
    damped.diagonal().add_(curvature.diagonal().mean() * _DAMPING + 1e-8)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)
    parts = [_round_rows(part.float(), factor, curvature, group) for part in in_parts(weight)]
    pairs, scales, left, whole = zip(*parts, strict=True)
    error, size = sum(left), sum(whole)
    return Int4Weight(
        torch.cat(pairs), torch.cat(scales), math.sqrt(error / size) if size > 0 else None
    )


def _round_rows(
    weight: Tensor, factor: Tensor, curvature: Tensor, group: int
) -> tuple[Tensor, Tensor, float, float]:
    """Return pairs and scales of some rows, their squared output error, and that of zeros."""
    with _one_thread():
        careful = _round_columns(weight, factor, group)
    nearest = round_nearest(weight, group)
    errors = output_error(weight, careful.values(), curvature)
    plain = output_error(weight, nearest.values(), curvature)
    worse = plain < errors
    whole = output_error(weight, torch.zeros_like(weight), curvature).sum()
    left = torch.minimum(errors, plain).sum().clamp(min=0)
    return (
        torch.where(worse[:, None], nearest.pairs, careful.pairs),
        torch.where(worse[:, None], nearest.scales, careful.scales),
        float(left),
        float(whole),
    )


def _round_columns(weight: Tensor, factor: Tensor, group: int) -> Int4Weight:
    in_features = weight.shape[1]
    # Columns first: each step reads and writes whole rows of these.
    left = weight.T.contiguous().clone()
    codes, scales = torch.empty_like(left, dtype=torch.int8), []
    importance = factor.diagonal().pow(-2)
    for start in range(0, in_features, group):
        end = start + group
        block = left[start:end]
        scale = best_scales(block.T, importance[start:end])
        errors = torch.empty_like(block)
        for column in range(group):
            at = start + column
            code = on_grid(block[column], scale)
            codes[at] = code
            errors[column] = (block[column] - code * scale) / factor[at, at]
            block[column + 1 :] -= torch.outer(factor[at, at + 1 : end], errors[column])
        left[end:] -= factor[start:end, end:].T @ errors
        scales.append(scale)
    return Int4Weight.of(codes.T.contiguous(), torch.stack(scales, 1))


def linear_units(layer: Any, index: int) -> dict[str, tuple[Any, ...]]:
    """Return the linears of decoder layer `index`, by the unit that has one precision.

    Linears in one tuple read the same input and are stacked along their outputs. The names are
    those of the modules of `hydra_export.graphs.decoder`.
    """
    attention, mlp, name = layer.self_attn, layer.mlp, f"layers.{index}"
    return {
        f"{name}.qkv": (attention.q_proj, attention.k_proj, attention.v_proj),
        f"{name}.out": (attention.o_proj,),
        f"{name}.gate_up": (mlp.gate_proj, mlp.up_proj),
        f"{name}.down": (mlp.down_proj,),
    }


def single_units(layer: Any, index: int) -> dict[str, tuple[Any, ...]]:
    """Return every linear of layer `index` by itself, of a text model of any class.

    The names are those of the modules of `hydra_export.graphs.traced_decoder`.
    """
    return {
        f"text.layers.{index}.{name}": (module,)
        for name, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


@torch.no_grad()
def round_decoder(
    language_model: Any,
    embeddings: Tensor,
    position_weights: Tensor,
    precisions: Mapping[str, str],
    group: int,
    log: Callable[[str], None] = lambda _: None,
    unfinished: Unfinished | None = None,
) -> dict[str, Int4Weight]:
    """Round the 4-bit units of a LlamaForCausalLM; the model is left as it was.

    Each layer sees what the rounded layers before it make of the embeddings, so that it can make
    up for their errors too.

    Args:
        language_model: fp32 on the CPU.
        embeddings: float32 [B, T, hidden] of the calibration.
        position_weights: float32 [B, T]; how much the error at a position counts, 0 at padding.
        precisions: unit (see `linear_units`, and "head") -> "w4a8", "w8a8" or anything else,
            which is left in fp32.
        group: inputs that share a scale; it must divide the inputs of every 4-bit unit.
        log: gets a line now and then.
        unfinished: what was rounded before, and where the units go.

    Returns:
        The 4-bit weights by unit.
    """
    body, unfinished = language_model.model, unfinished or Unfinished()
    left = TimeLeft("rounded", len(body.layers), log)
    rounded: dict[str, Int4Weight] = {}
    positions = torch.arange(embeddings.shape[1])[None]
    rotary = body.rotary_emb(embeddings, positions)
    hidden = embeddings
    for index, layer in enumerate(body.layers):

        def run(layer: Any = layer, hidden: Tensor = hidden) -> Tensor:
            return run_layer(layer, hidden, positions, rotary)

        values, new = _round_units(
            linear_units(layer, index),
            run,
            position_weights,
            precisions,
            group,
            rounded,
            unfinished,
        )
        with weights_replaced(values):
            hidden = run()
        (left.done if new else left.skipped)(index + 1)
    if precisions.get("head") == "w4a8":
        rounded["head"] = _round_head(
            language_model, lambda: body.norm(hidden), position_weights, group, unfinished
        )
    return rounded


@torch.no_grad()
def round_by_forward(
    language_model: Any,
    forward: Callable[[], Tensor],
    position_weights: Tensor,
    precisions: Mapping[str, str],
    group: int,
    log: Callable[[str], None] = lambda _: None,
    unfinished: Unfinished | None = None,
) -> dict[str, Int4Weight]:
    """Round the 4-bit linears of any text model; the model is left as it was.

    As `round_decoder`, but the whole model runs once for each layer, since what a layer takes
    beside hidden states is known to its own class alone.

    Args:
        language_model: with `model.layers` and `lm_head`.
        forward: runs the text model over the calibration; returns its last hidden states.
        position_weights: see `round_decoder`.
        precisions: see `round_decoder`, by the names of `single_units`.
        group: inputs that share a scale.
        log: gets a line now and then.
        unfinished: see `round_decoder`.
    """
    rounded: dict[str, Int4Weight] = {}
    unfinished = unfinished or Unfinished()
    left = TimeLeft("rounded", len(language_model.model.layers), log)
    with contextlib.ExitStack() as stack:
        for index, layer in enumerate(language_model.model.layers):
            units = single_units(layer, index)
            values, new = _round_units(
                units, forward, position_weights, precisions, group, rounded, unfinished
            )
            stack.enter_context(weights_replaced(values))
            (left.done if new else left.skipped)(index + 1)
        if precisions.get("head") == "w4a8":
            rounded["head"] = _round_head(
                language_model, forward, position_weights, group, unfinished
            )
    return rounded


def run_layer(layer: Any, hidden: Tensor, positions: Tensor, rotary: Any) -> Tensor:
    """Return what a decoder layer makes of hidden states [B, T, hidden]."""
    output = layer(hidden, position_ids=positions, position_embeddings=rotary)
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result


def _round_units(
    units: Mapping[str, tuple[Any, ...]],
    run: Callable[[], Tensor],
    position_weights: Tensor,
    precisions: Mapping[str, str],
    group: int,
    rounded: dict[str, Int4Weight],
    unfinished: Unfinished,
) -> tuple[dict[tuple[Any, ...], Tensor], bool]:
    """Round one layer's 4-bit units into `rounded`.

    Returns:
        What its quantized linears hold now, and whether any was not rounded before.
    """
    four = [name for name in units if precisions.get(name) == "w4a8"]
    before = {name: weight for name in four if (weight := unfinished.rounded(name)) is not None}
    new = {name: units[name] for name in four if name not in before}
    curvatures = _record(new, run, position_weights) if new else {}
    values: dict[tuple[Any, ...], Tensor] = {}
    for name, parts in units.items():
        if name in new:
            found = round_calibrated(stacked(parts), curvatures[name], group)
            rounded[name] = unfinished.keep(name, found)
        elif name in before:
            rounded[name] = before[name]
        if name in rounded:
            values[parts] = rounded[name].values()
        elif precisions.get(name) == "w8a8":
            values[parts] = round_int8(stacked(parts))
    return values, bool(new)


def _round_head(
    language_model: Any,
    last_hidden: Callable[[], Tensor],
    position_weights: Tensor,
    group: int,
    unfinished: Unfinished,
) -> Int4Weight:
    found = unfinished.rounded("head")
    if found is None:
        head = language_model.lm_head.weight.detach()
        found = round_calibrated(head, _curvature(last_hidden(), position_weights), group)
        unfinished.keep("head", found)
    return found


@contextlib.contextmanager
def weights_replaced(values: Mapping[tuple[Any, ...], Tensor]) -> Iterator[None]:
    """Give linears (stacked in tuples) other weights [sum of out, in] for a while."""
    originals = {part: part.weight.data for parts in values for part in parts}
    try:
        for parts, value in values.items():
            sizes = [part.out_features for part in parts]
            for part, piece in zip(parts, torch.split(value, sizes), strict=True):
                part.weight.data = piece
        yield
    finally:
        for part, weight in originals.items():
            part.weight.data = weight


def _record(
    units: Mapping[str, tuple[Any, ...]], run: Callable[[], Tensor], position_weights: Tensor
) -> dict[str, Tensor]:
    """Run the layer and return, for each unit, the curvature of its input."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[Any, Sequence[Tensor]], None]:
        def store(_: Any, inputs: Sequence[Tensor]) -> None:
            found[name] = _curvature(inputs[0], position_weights)

        return store

    handles = [parts[0].register_forward_pre_hook(hook(name)) for name, parts in units.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _curvature(x: Tensor, position_weights: Tensor) -> Tensor:
    """Return X^T D X [in, in] of inputs [B, T, in]: how the squared output error grows.

    D holds the weight of each position, so that an error where it is 4 counts as four errors.
    """
    there = position_weights > 0
    flat = x[there].float() * position_weights[there].sqrt()[:, None]
    return flat.T @ flat


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small operations: waking a second thread for each takes longer than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
