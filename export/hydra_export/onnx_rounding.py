"""4-bit weights rounded so that the layer's output, and not each weight, stays close.

Rounding to the nearest costs a small model much. GPTQ (Frantar et al., arXiv 2210.17323,
algorithm 1) rounds one input column at a time and lets the columns that are still free make up for
the error, weighted by the inputs that the layer sees. The inputs come from the model itself:
pictures of random blobs followed by text that the model samples, so an export needs no data set.

A grid that is fitted too well undoes the training: on a base whose weights were 4-bit before, the
nearest point is where the weight was before the adapter moved it (measured: a group grid with free
offsets kept 14 % of a small adapter, this one 99 %).

Called by the ONNX target, for MatMulNBits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hydra_export.onnx_decoder import linear_groups
from hydra_export.onnx_linear import Int4, int4_grid, pack_int4

_SEQUENCES = 24
_SAMPLED_TOKENS = 72
# Part of the mean curvature that is added to each input's own: inputs that the calibration never
# saw keep some weight.
_DAMPING = 0.02


def calibration_embeddings(model: Any, image_size: int, seed: int = 0) -> Tensor:
    """Return embeddings float [B, T, hidden]: start token, a picture, text sampled from the model.

    Args:
        model: the whole vision-language model, fp32 on the CPU.
        image_size: side of the picture that the tower reads.
        seed: of pictures and text.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.full((_SEQUENCES, 1), int(model.config.text_config.bos_token_id or 0))
    pictures = model.encode_image(_blobs(image_size, generator))
    chunk = torch.cat([model.embed_tokens(start), pictures], 1)
    chunks, cache = [chunk], None
    for _ in range(_SAMPLED_TOKENS):
        outputs = model(
            inputs_embeds=chunk, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache = outputs.past_key_values
        shares = outputs.logits[:, -1].softmax(-1)
        chunk = model.embed_tokens(torch.multinomial(shares, 1, generator=generator))
        chunks.append(chunk)
    return torch.cat(chunks, 1)


def round_decoder(
    language_model: Any, embeddings: Tensor, group: int, *, layers: bool, head: bool
) -> dict[str, Int4]:
    """Round the linears of the decoder layers and of the head; the model is left as it was.

    Each layer sees what the rounded layers before it make of `embeddings` [B, T, hidden], so that
    it can make up for their errors too.

    Returns:
        4-bit weights by the names of `onnx_decoder.linear_groups`, and "head".
    """
    body = language_model.model
    rounded: dict[str, Int4] = {}
    positions = torch.arange(embeddings.shape[1])[None]
    rotary = body.rotary_emb(embeddings, positions)

    hidden = embeddings
    for index, layer in enumerate(body.layers):

        def run(layer: Any = layer, hidden: Tensor = hidden) -> Tensor:
            output = layer(hidden, position_ids=positions, position_embeddings=rotary)
            result: Tensor = output[0] if isinstance(output, tuple) else output
            return result

        hidden = _round_layer(linear_groups(layer, index), run, group, rounded) if layers else run()
    if head:
        final = body.norm(hidden)
        weight = language_model.lm_head.weight.detach()
        rounded["head"], _ = round_int4(weight, _curvature(final), group)
    return rounded


def _round_layer(
    linears: dict[str, tuple[Any, ...]],
    run: Callable[[], Tensor],
    group: int,
    rounded: dict[str, Int4],
) -> Tensor:
    """Round one layer into `rounded`; return its output with the rounded weights."""
    curvatures = _record(linears, run)
    originals = {part: part.weight.data for parts in linears.values() for part in parts}
    for name, parts in linears.items():
        weight = torch.cat([part.weight.data for part in parts])
        rounded[name], values = round_int4(weight, curvatures[name], group)
        sizes = [part.out_features for part in parts]
        for part, piece in zip(parts, torch.split(values, sizes), strict=True):
            part.weight.data = piece
    try:
        return run()
    finally:
        for part, weight in originals.items():
            part.weight.data = weight


def _record(linears: dict[str, tuple[Any, ...]], run: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Run the layer and return, for each entry, the curvature of its input."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[Any, Sequence[Tensor]], None]:
        def store(_: Any, inputs: Sequence[Tensor]) -> None:
            found[name] = _curvature(inputs[0])

        return store

    handles = [parts[0].register_forward_pre_hook(hook(name)) for name, parts in linears.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _curvature(x: Tensor) -> Tensor:
    """Return X^T X [in, in] of inputs [..., in]: how the squared output error grows."""
    flat = x.reshape(-1, x.shape[-1]).float()
    return flat.T @ flat


def round_int4(weight: Tensor, curvature: Tensor, group: int) -> tuple[Int4, Tensor]:
    """Round a weight [out, in] column by column; return codes and the rounded weight.

    Args:
        weight: float; not changed.
        curvature: X^T X [in, in] of the inputs; its diagonal is damped here.
        group: inputs that share a scale; it must divide the number of inputs.
    """
    in_features = weight.shape[1]
    damped = curvature + torch.eye(in_features) * (curvature.diagonal().mean() * _DAMPING + 1e-8)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)
    with _one_thread():
        return _round_columns(weight, factor, group)


def _round_columns(weight: Tensor, factor: Tensor, group: int) -> tuple[Int4, Tensor]:
    out_features, in_features = weight.shape
    # Columns first: each step reads and writes whole rows of these.
    left = weight.T.float().contiguous().clone()
    codes, scales, zeros = torch.empty_like(left), [], []
    for start in range(0, in_features, group):
        end = start + group
        block = left[start:end]
        scale, zero = int4_grid(block.T)
        errors = torch.empty_like(block)
        for column in range(group):
            at = start + column
            code = (block[column] / scale + zero).round_().clamp_(0, 15)
            codes[at] = code
            value = (code - zero) * scale
            errors[column] = (block[column] - value) / factor[at, at]
            block[column + 1 :] -= torch.outer(factor[at, at + 1 : end], errors[column])
            block[column] = value
        left[end:] -= factor[start:end, end:].T @ errors
        scales.append(scale)
        zeros.append(zero)
    grouped = codes.T.reshape(out_features, -1, group)
    packed = pack_int4(grouped, torch.stack(scales, 1), torch.stack(zeros, 1))
    return packed, left.T.contiguous()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small operations: waking a second thread for each takes longer than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _blobs(size: int, generator: torch.Generator) -> Tensor:
    """Return pixels [B, 3, S, S] between -2 and 2: smooth colours, as pictures have."""
    coarse = torch.rand(_SEQUENCES, 3, 6, 6, generator=generator) * 6 - 3
    smooth = torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=False
    )
    return smooth.clamp(-2, 2)
