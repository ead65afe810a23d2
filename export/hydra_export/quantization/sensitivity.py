"""How much each part of a decoder loses at 4 bits, and which parts a size budget keeps at 8.

A part's cost is measured: the divergence (KL, in nats) between the model's next-token distribution
and that of the model with this part alone rounded to the nearest, on the calibration's answers.
Layers before the part are not run again. Parts that cost most for each byte that 8 bits would add
get the 8 bits, until the budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_export.quantization.calibration import Calibration
from hydra_export.quantization.gptq import (
    linear_units,
    run_layer,
    stacked,
    weights_replaced,
)
from hydra_mobile.adapters.int4_grid import round_nearest


@dataclass(frozen=True)
class PartCost:
    """What 4 bits cost in one part.

    Attributes:
        name: a unit of `rounding.linear_units`, "head" or "embedding".
        weights: how many weights it has.
        divergence: mean KL over the answers' positions, in nats.
        extra_bytes: bytes that 8 bits take more than 4, scales included.
    """

    name: str
    weights: int
    divergence: float
    extra_bytes: int

    @property
    def per_byte(self) -> float:
        """Divergence that each byte of the 8 bits buys off."""
        return self.divergence / max(1, self.extra_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as the manifest stores it."""
        return asdict(self) | {"divergence": float(f"{self.divergence:.4g}")}


def bytes_at(precision: str, shape: Sequence[int], group: int) -> int:
    """Return the bytes of a weight [out, in] in a program file.

    Args:
        precision: "fp32", "fp16", "w8", "w8a8" (a float32 scale for each row), "w4" or "w4a8" (a
            16-bit scale for each group).
        shape: (out, in).
        group: inputs that share a scale at 4 bits.
    """
    out_features, in_features = shape
    weights = out_features * in_features
    if precision in ("w4", "w4a8"):
        return -(-weights // 2) + 2 * out_features * -(-in_features // group)
    if precision in ("w8", "w8a8"):
        return weights + 4 * out_features
    return weights * (2 if precision == "fp16" else 4)


@torch.no_grad()
def measure(
    language_model: Any,
    calibration: Calibration,
    group: int,
    log: Callable[[str], None] = lambda _: None,
) -> list[PartCost]:
    """Return the cost of every linear unit, the head and the embedding, in the model's order.

    Args:
        language_model: a LlamaForCausalLM, fp32 on the CPU; left as it was.
        calibration: a few sequences; each part costs about half a pass over them.
        group: inputs that share a scale; parts whose inputs it does not divide are left out.
        log: gets a line now and then.
    """
    body = language_model.model
    positions = torch.arange(calibration.embeddings.shape[1])[None]
    rotary = body.rotary_emb(calibration.embeddings, positions)
    answers = calibration.answers

    def finish(hidden: Tensor, start: int) -> Tensor:
        for layer in body.layers[start:]:
            hidden = run_layer(layer, hidden, positions, rotary)
        logits: Tensor = language_model.lm_head(body.norm(hidden[answers]))
        return logits.log_softmax(-1)

    inputs = [calibration.embeddings]
    for layer in body.layers:
        inputs.append(run_layer(layer, inputs[-1], positions, rotary))
    reference = finish(inputs[-1], len(body.layers))

    def cost(name: str, shape: Sequence[int], changed: Tensor, eight: str) -> PartCost:
        divergence = (reference.exp() * (reference - changed)).sum(-1).mean()
        extra = bytes_at(eight, shape, group) - bytes_at("w4", shape, group)
        return PartCost(name, shape[0] * shape[1], max(0.0, float(divergence)), extra)

    costs = []
    for index, layer in enumerate(body.layers):
        for name, parts in linear_units(layer, index).items():
            weight = stacked(parts)
            if weight.shape[1] % group:
                continue
            with weights_replaced({parts: round_nearest(weight, group).values()}):
                changed = finish(inputs[index], index)
            costs.append(cost(name, weight.shape, changed, "w8a8"))
        if (index + 1) % 10 == 0:
            log(f"measured {index + 1} of {len(body.layers)} layers")
    head, table = language_model.lm_head, body.embed_tokens.weight.detach()
    if head.in_features % group == 0:
        rounded = round_nearest(head.weight.detach(), group).values()
        with weights_replaced({(head,): rounded}):
            changed = finish(inputs[-1], len(body.layers))
        costs.append(cost("head", head.weight.shape, changed, "w8a8"))
        rounded = round_nearest(table, group).values()
        changed = finish(calibration.with_table(rounded), 0)
        costs.append(cost("embedding", table.shape, changed, "w8"))
    return costs


def keep_at_8_bits(costs: Sequence[PartCost], spare_bytes: int) -> set[str]:
    """Return the parts that get 8 bits: the most divergence for each byte first, while they fit.

    A part that does not fit any more is passed over; smaller ones behind it still may.
    """
    kept: set[str] = set()
    for part in sorted(costs, key=lambda part: part.per_byte, reverse=True):
        if part.divergence > 0 and part.extra_bytes <= spare_bytes:
            kept.add(part.name)
            spare_bytes -= part.extra_bytes
    return kept
