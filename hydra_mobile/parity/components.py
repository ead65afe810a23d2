"""Part by part: one model against reference outputs, each part fed what the reference computed.

Since a part never sees the faults of those before it, a fault shows in its own part and only there:
preprocessing, prompt, vision tower, projector, decoder (token embedding and first logits) and
greedy steps (the cache). `whole` is all of them in sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from hydra_mobile.bundle.golden import pixel_statistics
from hydra_mobile.bundle.tolerance import PIXEL_TOLERANCE, Tolerance
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.parity.end_to_end import CaseResult, cosine, greedy_agreement, leading
from hydra_mobile.parity.reference import ReferenceOutputs, SplitVision, prefill
from hydra_mobile.runtimes.base import Array, Runtime

Status = Literal["pass", "fail", "absent"]
_ONE_GRAPH = "tower and projector are one graph here: `projector` compares both"
_OLD_GOLDEN = "the golden vectors are of an older export and do not hold them"


@dataclass(frozen=True)
class PartResult:
    """How one part of the model compares, over all cases; None where a figure has no meaning.

    Attributes:
        part: its name.
        status: "absent" where it could not be compared by itself; `note` says why.
        max_abs: largest absolute difference.
        mean_abs: mean absolute difference.
        cosine: the smallest of all cases.
        top1: share of cases with the same most likely token.
        greedy: mean number of greedy tokens before the first that differs.
        tokens: mean number of greedy tokens compared.
        note: what is out of tolerance, or why the part is absent; empty otherwise.
    """

    part: str
    status: Status
    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    top1: float | None = None
    greedy: float | None = None
    tokens: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values; those that JSON does not know become text."""
        return {
            k: str(v) if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in asdict(self).items()
        }


@dataclass(frozen=True)
class _Figures:
    """Differences of one array; `share` is the largest as a share of the largest value."""

    largest: float
    mean: float
    cosine: float
    share: float


def compare_parts(
    runtime: Runtime, cases: Sequence[ReferenceOutputs], tolerance: Tolerance
) -> tuple[PartResult, ...]:
    """Compare every part of a runtime with the reference outputs.

    Args:
        runtime: of the later form.
        cases: of the earlier form, at least one.
        tolerance: of the later form.
    """
    tower, projector = _vision(runtime, cases, tolerance)
    decoder, greedy = _decoder(runtime, cases, tolerance)
    return (
        _preprocessing(runtime, cases), _prompt(runtime, cases), tower, projector, decoder, greedy
    )  # fmt: skip


def whole_part(
    cases: Sequence[CaseResult], failures: Sequence[str], agreement: float
) -> PartResult:
    """Sum up the cases that were run from picture to answer."""
    return PartResult(
        "whole",
        "fail" if failures else "pass",
        max_abs=_largest([c.logits_difference for c in cases]),
        mean_abs=float(np.mean([c.logits_mean_difference for c in cases])),
        cosine=float(np.min([c.logits_cosine for c in cases])),
        top1=float(np.mean([c.top1_equal for c in cases])),
        greedy=float(np.mean([c.leading for c in cases])),
        tokens=float(np.mean([c.tokens for c in cases])),
        note=f"{agreement:.0%} of the greedy tokens agree" if failures else "",
    )


def _preprocessing(runtime: Runtime, cases: Sequence[ReferenceOutputs]) -> PartResult:
    found = []
    for case in cases:
        pixels = runtime.processor.preprocess(open_picture(case.image))
        if case.pixels is not None:
            found.append(_figures(pixels, case.pixels))
        else:  # the statistics that older golden vectors hold
            ours, theirs = pixel_statistics(pixels), case.statistics
            same = ours["shape"] == theirs["shape"]
            values = [np.array([s["mean"], s["std"], *s["first"]]) for s in (ours, theirs)]
            found.append(_figures(*values) if same else _DIFFERENT_SHAPE)
    largest = _largest([f.largest for f in found])
    note = "" if largest <= PIXEL_TOLERANCE else f"pixels differ by {largest:.1e}"
    return _part("preprocessing", found, note)


def _prompt(runtime: Runtime, cases: Sequence[ReferenceOutputs]) -> PartResult:
    note = ""
    for index, case in enumerate(cases):
        prompt = runtime.processor.prompt(case.question)
        for where, found, expected in (
            ("before", prompt.before, case.before),
            ("behind", prompt.after, case.after),
        ):
            if found != expected and not note:
                at = leading([a == b for a, b in zip(found, expected, strict=False)])
                note = (
                    f"case {index}: {len(found)} ids {where} the image, expected "
                    f"{len(expected)}; they part at position {at}"
                )
    return PartResult("prompt", "fail" if note else "pass", note=note)


def _vision(
    runtime: Runtime, cases: Sequence[ReferenceOutputs], tolerance: Tolerance
) -> tuple[PartResult, PartResult]:
    """Compare the tower and the projector, or both as one where they are one graph."""
    pixels = [case.pixels if case.pixels is not None else _pixels(runtime, case) for case in cases]
    features = [case.features for case in cases]
    absent = ""
    if not isinstance(runtime, SplitVision):
        absent = _ONE_GRAPH
    elif any(value is None for value in features):
        absent = _OLD_GOLDEN
    towers, projectors = [], []
    for case, picture, feature in zip(cases, pixels, features, strict=True):
        if not absent and isinstance(runtime, SplitVision) and feature is not None:
            towers.append(_figures(runtime.vision_features(picture[None])[0], feature))
            embeddings = runtime.project(feature[None])
        else:
            embeddings = runtime.encode_image(picture[None])
        projectors.append(_figures(embeddings[0], case.embeddings))
    tower = PartResult("vision", "absent", note=absent)
    if not absent:
        tower = _part("vision", towers, _image_note("features", towers, tolerance))
    note = _image_note("image embeddings", projectors, tolerance)
    return tower, _part("projector", projectors, note)


def _pixels(runtime: Runtime, case: ReferenceOutputs) -> Array:
    return runtime.processor.preprocess(open_picture(case.image))


def _image_note(what: str, found: Sequence[_Figures], tolerance: Tolerance) -> str:
    share, smallest = _largest([f.share for f in found]), float(np.min([f.cosine for f in found]))
    if not share <= tolerance.image:
        return (
            f"{what} differ by {share:.1e} of the largest value "
            f"(at most {tolerance.image})"
        )  # fmt: skip
    if not smallest >= tolerance.image_cosine:
        return f"{what} have cosine {smallest:.6f} (at least {tolerance.image_cosine})"
    return ""


def _decoder(
    runtime: Runtime, cases: Sequence[ReferenceOutputs], tolerance: Tolerance
) -> tuple[PartResult, PartResult]:
    found, first, lengths, agreeing = [], [], [], []
    for case in cases:
        logits, state = prefill(runtime, case.before, case.embeddings[None], case.after)
        found.append(_figures(logits, case.logits))
        agrees = greedy_agreement(runtime, case, logits, state, tolerance)
        first.append(agrees[0])
        lengths.append(leading(agrees))
        agreeing += agrees
    largest, smallest = _largest([f.largest for f in found]), np.min([f.cosine for f in found])
    note = ""
    if not largest <= tolerance.logits:
        note = f"first logits differ by {largest:.2e} (at most {tolerance.logits})"
    elif not smallest >= tolerance.cosine:
        note = f"first logits have cosine {smallest:.6f} (at least {tolerance.cosine})"
    decoder = _part("decoder", found, note, top1=float(np.mean(first)))
    share = float(np.mean(agreeing))
    greedy = PartResult(
        "greedy",
        "pass" if share >= tolerance.agreement else "fail",
        top1=share,
        greedy=float(np.mean(lengths)),
        tokens=len(agreeing) / len(cases),
        note=""
        if share >= tolerance.agreement
        else f"{share:.1%} of the tokens agree (at least {tolerance.agreement:.0%})",
    )
    return decoder, greedy


_DIFFERENT_SHAPE = _Figures(math.inf, math.inf, 0.0, math.inf)


def _figures(found: Array, expected: Array) -> _Figures:
    if found.shape != expected.shape:
        return _DIFFERENT_SHAPE
    difference = np.abs(found.astype(np.float64) - expected)
    scale = float(np.abs(expected).max())
    largest = float(difference.max())
    share = largest / scale if scale else largest
    return _Figures(largest, float(difference.mean()), cosine(found, expected), share)


def _part(
    part: str, found: Sequence[_Figures], note: str, *, top1: float | None = None
) -> PartResult:
    return PartResult(
        part,
        "fail" if note else "pass",
        max_abs=_largest([f.largest for f in found]),
        mean_abs=float(np.mean([f.mean for f in found])),
        cosine=float(np.min([f.cosine for f in found])),
        top1=top1,
        note=note,
    )


def _largest(values: Sequence[float]) -> float:
    return float(np.max(values))  # unlike Python's max, NaN wins
