"""From the picture to the answer: all parts of one model in sequence, against reference outputs.

Every part takes what the one before it made, as on the phone, so a fault shows from its place on.
`components` finds that place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydra_mobile.bundle.golden import pixel_statistics
from hydra_mobile.bundle.tolerance import PIXEL_TOLERANCE, Tolerance
from hydra_mobile.core.errors import ParityError
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.parity.reference import ReferenceOutputs, prefill
from hydra_mobile.runtimes.base import Array, CacheState, Runtime


@dataclass(frozen=True)
class CaseResult:
    """How one case went.

    `leading` counts the greedy tokens that agree before the first that does not: the length up to
    which a free-running generation would be the same. `agreeing` counts all that agree, ties
    included.
    """

    question: str
    pixel_difference: float
    prompt_equal: bool
    image_difference: float
    image_cosine: float
    logits_difference: float
    logits_mean_difference: float
    logits_cosine: float
    top1_equal: bool
    leading: int
    agreeing: int
    tokens: int


def replay(
    runtime: Runtime, case: ReferenceOutputs, index: int, tolerance: Tolerance
) -> CaseResult:
    """Answer a case from its picture, fed the reference's ids.

    Raises:
        ParityError: the logits have another shape.
    """
    processor = runtime.processor
    pixels = processor.preprocess(open_picture(case.image))
    prompt = processor.prompt(case.question)
    embeddings = runtime.encode_image(pixels[None])
    logits, state = prefill(runtime, case.before, embeddings, case.after)
    if logits.shape != case.logits.shape:
        raise ParityError(
            f"Case {index}: logits have shape {logits.shape}, golden ones {case.logits.shape}."
        )
    difference = np.abs(logits - case.logits)
    agrees = greedy_agreement(runtime, case, logits, state, tolerance)
    return CaseResult(
        question=case.question,
        pixel_difference=_pixel_difference(pixel_statistics(pixels), case.statistics),
        prompt_equal=[prompt.before, prompt.after] == [case.before, case.after],
        image_difference=float(np.abs(embeddings[0] - case.embeddings).max()),
        image_cosine=cosine(embeddings[0], case.embeddings),
        logits_difference=float(difference.max()),
        logits_mean_difference=float(difference.mean()),
        logits_cosine=cosine(logits, case.logits),
        top1_equal=agrees[0],
        leading=leading(agrees),
        agreeing=sum(agrees),
        tokens=len(agrees),
    )


def greedy_agreement(
    runtime: Runtime, case: ReferenceOutputs, logits: Array, state: CacheState, tolerance: Tolerance
) -> list[bool]:
    """Say of each greedy token whether the runtime agrees, ties included.

    It is fed the reference's ids, so that one early difference does not hide the rest.

    Args:
        runtime: at `state`.
        case: of the reference.
        logits: float32 [V] after the prompt.
        state: after the prompt.
        tolerance: says what a tie is.
    """
    agrees = []
    for position, token in enumerate(case.ids):
        agrees.append(int(logits.argmax()) == token or case.margins[position] < tolerance.margin)
        if position + 1 < len(case.ids):
            logits, state = runtime.decode(runtime.embed([token]), state)
    return agrees


def leading(agrees: Sequence[bool]) -> int:
    """Return how many values are true before the first that is not."""
    return list(agrees).index(False) if False in agrees else len(agrees)


def cosine(left: Array, right: Array) -> float:
    """Return the cosine of two arrays of one size; 0 where one of them is zero."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    # NaN stays NaN: it must fail, not look orthogonal.
    return 0.0 if norms == 0 else float(np.dot(a, b)) / norms


def case_failures(case: CaseResult, tolerance: Tolerance) -> list[str]:
    """Return a sentence for everything about a case that is out of tolerance."""
    failures = []
    if not case.pixel_difference <= PIXEL_TOLERANCE:
        failures.append(
            f"pixels differ by {case.pixel_difference:.1e} (at most {PIXEL_TOLERANCE})."
        )
    if not case.prompt_equal:
        failures.append("the tokenizer or template gives other prompt ids.")
    # Written so that NaN fails.
    if not case.image_cosine >= tolerance.image_cosine:
        failures.append(
            f"image embeddings have cosine {case.image_cosine:.6f} "
            f"(at least {tolerance.image_cosine})."
        )
    if not case.logits_difference <= tolerance.logits:
        failures.append(
            f"logits differ by {case.logits_difference:.2e} (at most {tolerance.logits})."
        )
    if not case.logits_cosine >= tolerance.cosine:
        failures.append(
            f"logits have cosine {case.logits_cosine:.6f} (at least {tolerance.cosine})."
        )
    return failures


def _pixel_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    if found["shape"] != expected["shape"]:
        return math.inf
    pairs = [(found["mean"], expected["mean"]), (found["std"], expected["std"])]
    pairs += list(zip(found["first"], expected["first"], strict=True))
    return float(np.max([abs(a - b) for a, b in pairs]))  # unlike Python's max, NaN wins
