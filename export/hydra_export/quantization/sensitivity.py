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

from hydra_export.graphs.stored import stacked
from hydra_export.quantization.calibration import Calibration
from hydra_export.quantization.gptq import (
    linear_units,
    run_layer,
    weights_replaced,
)
from hydra_export.quantization.unfinished import TimeLeft, Unfinished
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
    unfinished: Unfinished | None = None,
) -> list[PartCost]:
    """Return the cost of every linear unit, the head and the embedding, in the model's order.

    Args:
        language_model: a LlamaForCausalLM, fp32 on the CPU; left as it was.
        calibration: a few sequences; each part costs about half a pass over them.
        group: inputs that share a scale; parts whose inputs it does not divide are left out.
        log: gets a line now and then.
        unfinished: what was measured before, and where it goes.
    """
    body, unfinished = language_model.model, unfinished or Unfinished()
    left = TimeLeft("measured", len(body.layers), log)
    known = unfinished.costs()
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

    def cost(
        name: str, shape: Sequence[int], changed: Callable[[], Tensor], eight: str
    ) -> PartCost:
        if name not in known:
            divergence = (reference.exp() * (reference - changed())).sum(-1).mean()
            known[name] = max(0.0, float(divergence))
        extra = bytes_at(eight, shape, group) - bytes_at("w4", shape, group)
        return PartCost(name, shape[0] * shape[1], known[name], extra)

    def with_rounded(parts: tuple[Any, ...], index: int) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with weights_replaced({parts: round_nearest(stacked(parts), group).values()}):
                return finish(inputs[index], index)

        return run

    costs = []
    # Layers before a part are not run again, so the first ones take longest.
    work = [len(body.layers) - index + 1 for index in range(len(body.layers))]
    for index, layer in enumerate(body.layers):
        for name, parts in linear_units(layer, index).items():
            shape = (sum(part.out_features for part in parts), parts[0].in_features)
            if shape[1] % group == 0:
                costs.append(cost(name, shape, with_rounded(parts, index), "w8a8"))
        unfinished.keep_costs(known)
        left.done(index + 1, sum(work[: index + 1]) / sum(work))
    head, table = language_model.lm_head, body.embed_tokens.weight.detach()
    if head.in_features % group == 0:
        last = with_rounded((head,), len(body.layers))
        costs.append(cost("head", head.weight.shape, last, "w8a8"))

        def with_table() -> Tensor:
            return finish(calibration.with_table(round_nearest(table, group).values()), 0)

        costs.append(cost("embedding", table.shape, with_table, "w8"))
        unfinished.keep_costs(known)
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
