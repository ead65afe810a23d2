"""How far one model's answers match another's: texts, token IDs and first logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hydra_mobile.evaluation.store.kept_logits import read_logits
from hydra_mobile.evaluation.store.predictions import ArtifactResults, Predictions
from hydra_mobile.evaluation.store.work_dir import LOGITS
from hydra_mobile.reporting.results import Agreement
from hydra_mobile.reporting.schema import ParityRow

#: Logits of an exported fp32 program stay this close to torch.
FP32_LOGITS_TOLERANCE = 1e-3
#: A lead of the best token over the second that rounding of weights can easily overturn.
_CLOSE = 1.0


def agreement_of(
    results: ArtifactResults, reference: ArtifactResults | None
) -> tuple[dict[str, Agreement] | None, dict[str, str]]:
    """Return how many answers are the reference's, split by split, and why others are not.

    Splits are named with their benchmark where there are several.
    """
    if reference is None or results is reference or results.role == "untrained":
        return None, {}
    agreement: dict[str, Agreement] = {}
    differences = []
    for ours, theirs in zip(results.predictions, reference.predictions, strict=True):
        prefix = f"{ours.run.benchmark} " if len(results.predictions) > 1 else ""
        agreement |= _agreement(ours, theirs, prefix)
        if any(ours.lines[key].text != theirs.lines[key].text for key in _both(ours, theirs)):
            differences.append(prefix + _why_answers_differ(ours, theirs))
    return agreement, {"agreement": " ".join(differences)} if differences else {}


def parity_of(results: ArtifactResults, reference: ArtifactResults) -> ParityRow | None:
    """Compare first logits on the questions whose logits were kept, and all answers."""
    largest, mean, cosines, top1, same = [], [], [], [], []
    for ours, theirs in zip(results.predictions, reference.predictions, strict=True):
        for file in sorted((ours.task.folder / LOGITS).glob("*.npy")):
            other = theirs.task.folder / LOGITS / file.name
            if not other.is_file():
                continue
            a, b = (read_logits(f).astype(np.float64) for f in (file, other))
            difference = np.abs(a - b)
            largest.append(float(difference.max()))
            mean.append(float(difference.mean()))
            cosines.append(float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)))
            top1.append(float(a.argmax() == b.argmax()))
        same += [ours.lines[k].ids == theirs.lines[k].ids for k in _both(ours, theirs)]
    if not mean or not same:
        return None
    exact = results.folder.artifact.preset == "fp32"
    verdict: Any = "not gated"
    if exact:
        # numpy's maximum is NaN where one of the values is; Python's is not.
        verdict = "pass" if float(np.max(largest)) <= FP32_LOGITS_TOLERANCE else "fail"
    names = reference.name, results.name
    return ParityRow(
        rung=f"{names[0]} vs {names[1]} ({len(mean)} questions)",
        max_abs=float(np.max(largest)),
        mean_abs=float(np.mean(mean)),
        cosine=float(np.min(cosines)),
        top1_agreement=float(np.mean(top1)),
        greedy_match=float(np.mean(same)),
        tolerance=FP32_LOGITS_TOLERANCE if exact else None,
        verdict=verdict,
    )


def _both(ours: Predictions, theirs: Predictions) -> list[str]:
    """Return the keys that both answered."""
    return [key for key in ours.lines if key in theirs.lines]


def _agreement(ours: Predictions, theirs: Predictions, prefix: str) -> dict[str, Agreement]:
    keys: dict[str, list[str]] = {}
    for sample in ours.task.spec.samples:
        if sample.key in ours.lines and sample.key in theirs.lines:
            keys.setdefault(sample.split, []).append(sample.key)
    return {
        prefix + split: Agreement(
            sum(ours.lines[key].text == theirs.lines[key].text for key in of_split),
            len(of_split),
        )
        for split, of_split in keys.items()
    }


def _why_answers_differ(ours: Predictions, theirs: Predictions) -> str:
    """Say which kinds of question differ, and how sure the reference was of those answers."""
    same: dict[str, list[bool]] = {}
    margins: dict[bool, list[float]] = {True: [], False: []}
    both = set(_both(ours, theirs))
    samples: Sequence[Any] = [s for s in ours.task.spec.samples if s.key in both]
    for sample in samples:
        one, other = ours.lines[sample.key], theirs.lines[sample.key]
        same.setdefault(sample.kind, []).append(one.text == other.text)
        margins[one.text == other.text].append(other.margin)
    kinds = ", ".join(f"{kind} {np.mean(values):.0%}" for kind, values in same.items())
    close = sum(margin < _CLOSE for margin in margins[False])
    sure = f"{np.median(margins[True]):.2f}" if margins[True] else "none"
    return (
        f"same answers by kind: {kinds}. Of the {len(margins[False])} that differ, the reference "
        f"decided {close} by less than {_CLOSE:g} logit; its median lead was "
        f"{np.median(margins[False]):.2f} there and {sure} where the answers agree."
    )
