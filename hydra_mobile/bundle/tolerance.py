"""How far two forms of one model may be apart, for every precision, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Preprocessing is the same few numpy lines everywhere; only the decoder of the PNG may differ.
PIXEL_TOLERANCE = 1e-5

_PARTS = ("vision", "projector", "embedding", "decoder", "head")


@dataclass(frozen=True)
class Tolerance:
    """How far a form of the model may be from the one before it.

    Attributes:
        logits: largest absolute difference of the first logits.
        cosine: smallest cosine of the first logits.
        image_cosine: smallest cosine of vision features and image embeddings.
        agreement: smallest share of greedy tokens that agree, over all cases.
        margin: a disagreeing token is a tie, and counts as agreeing, where the leading logit of
            the reference leads its second best by less than this.
        image: largest difference of vision features and image embeddings, as a share of the
            largest of them. A single wrong weight shows here long before it moves a cosine.
        answers: smallest share of equal answers on a slice of a benchmark.
        score_drop: most of its score, in [0, 1], that may be lost on that slice. A step fails when
            even the upper end of the paired interval of the change lies below it.
    """

    logits: float
    cosine: float
    image_cosine: float
    agreement: float
    margin: float
    image: float = math.inf
    answers: float = 0.0
    score_drop: float = 1.0

    def to_dict(self) -> dict[str, float | None]:
        """Return the bounds as JSON values: None where there is none."""
        return {k: None if math.isinf(v) else v for k, v in asdict(self).items()}


# Lossless: only the order of sums differs.
FP32_TOLERANCE = Tolerance(
    1e-3, 1.0 - 1e-6, 1.0 - 1e-6, 1.0, 2e-3, image=1e-3, answers=0.99, score_drop=0.01
)
# Wide on purpose, since golden answers hold a handful of tokens: it catches a broken program, such
# as an overwritten cache. How much of the task survives 4 bits is what a slice measures.
QUANTIZED_TOLERANCE = Tolerance(math.inf, 0.98, 0.99, 0.5, 0.0, score_drop=0.01)

TOLERANCES = {
    "fp32": FP32_TOLERANCE,
    # Of a sum of two fp32 matrices, rounded once to 11 or to 8 bits when it is stored.
    "fp16": Tolerance(math.inf, 0.9999, 0.9999, 0.9, 0.05, answers=0.9, score_drop=0.005),
    "bf16": Tolerance(math.inf, 0.999, 0.999, 0.8, 0.2, answers=0.9, score_drop=0.005),
    "int8": Tolerance(math.inf, 0.98, 0.99, 0.5, 0.0, score_drop=0.005),
    "int4": QUANTIZED_TOLERANCE,
}


def precision_class(precisions: Mapping[str, Any]) -> str:
    """Return the row of `TOLERANCES` for a preset, given as its dictionary.

    The least precise part decides: "fp32" only if every part is.
    """
    found = {str(precisions.get(part)) for part in _PARTS}
    if found == {"fp32"}:
        return "fp32"
    if found <= {"fp32", "fp16"}:
        return "fp16"
    return "int4" if any(name.startswith("w4") for name in found) else "int8"


def tolerance_of(precisions: Mapping[str, Any]) -> Tolerance:
    """Return the tolerance for a preset, given as its dictionary."""
    return TOLERANCES[precision_class(precisions)]
