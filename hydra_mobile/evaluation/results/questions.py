"""What happened to single questions: outcomes, a gallery, close calls and favorite answers."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.shared.subset import spread
from hydra_mobile.core.errors import HydraError
from hydra_mobile.evaluation.store.predictions import ArtifactResults
from hydra_mobile.reporting.evidence import (
    LeadBin,
    Outcome,
    Outcomes,
    QuestionSection,
    SaidCounts,
    SharedAnswer,
    ShownQuestion,
)

#: Questions of each outcome in the gallery.
_SHOWN = 4
#: Bounds of the leads, in logits.
_LEADS = (0.0, 0.25, 0.5, 1.0, 2.0)
#: Kinds of questions with more different right answers have no favorite answer.
_MOST_ANSWERS, _LEAST_QUESTIONS, _MOST_KINDS = 6, 20, 4
_THUMBNAIL, _QUALITY = 320, 72


@dataclass(frozen=True)
class _Asked:
    """A question with what every row answered."""

    benchmark: Benchmark
    sample: Sample
    texts: Mapping[str, str]
    credits: Mapping[str, float]
    lead: float | None

    def right(self, system: str) -> bool:
        return self.credits[system] >= 0.5


def questions_of(
    done: Sequence[ArtifactResults], reference: ArtifactResults | None
) -> QuestionSection | None:
    """Return what happened to the questions that every row answered; None without a trained row."""
    if reference is None:
        return None
    asked = list(_asked(done, reference))
    if not asked:
        return None
    names = [each.name for each in done]
    exports = [each.name for each in done if each.role == "export"]
    before = next((each.name for each in done if each.role == "untrained"), None)
    return QuestionSection(
        n=len(asked),
        shown=tuple(_gallery(asked, names, before, reference.name, exports)),
        outcomes=tuple(_outcomes(asked, before, reference.name, name) for name in exports)
        if before
        else (),
        leads=tuple(_by_lead(asked, reference.name, exports)),
        said=tuple(_said(asked, names)),
    )


def _asked(done: Sequence[ArtifactResults], reference: ArtifactResults) -> Iterable[_Asked]:
    for place, theirs in enumerate(reference.predictions):
        task = theirs.task.spec
        lines = {each.name: each.predictions[place].lines for each in done}
        for sample in task.samples:
            # A test split has no right answers.
            if not sample.reference or any(sample.key not in own for own in lines.values()):
                continue
            texts = {name: own[sample.key].text for name, own in lines.items()}
            found = {text: task.benchmark.credit(sample, text) for text in set(texts.values())}
            lead = theirs.lines[sample.key].margin
            yield _Asked(
                task.benchmark,
                sample,
                texts,
                {name: found[text] for name, text in texts.items()},
                lead if lead >= 0 else None,
            )


def _outcomes(asked: Sequence[_Asked], before: str, after: str, export: str) -> Outcomes:
    counts = Counter(_outcome(one, before, after, export) for one in asked)
    return Outcomes(before, after, export, **counts)


def _outcome(one: _Asked, before: str, after: str, export: str) -> str:
    if one.right(after):
        if not one.right(export):
            return "broken"
        return "kept" if one.right(before) else "learned"
    if one.right(export):
        return "lucky"
    return "unlearned" if one.right(before) else "never"


def _by_lead(asked: Sequence[_Asked], after: str, exports: Sequence[str]) -> Iterable[LeadBin]:
    if not exports:
        return
    highs: list[float | None] = [*_LEADS[1:], None]
    for low, high in zip(_LEADS, highs, strict=True):
        own = [
            one
            for one in asked
            if one.lead is not None and low <= one.lead and (high is None or one.lead < high)
        ]
        differ = {name: sum(one.texts[name] != one.texts[after] for one in own) for name in exports}
        yield LeadBin(low, high, len(own), differ)


def _said(asked: Sequence[_Asked], names: Sequence[str]) -> Iterable[SaidCounts]:
    kinds: dict[tuple[str, str], list[_Asked]] = {}
    for one in asked:
        kinds.setdefault((one.benchmark.name, one.sample.kind), []).append(one)
    shown = 0
    for (benchmark, kind), own in kinds.items():
        expected = Counter(one.sample.reference for one in own)
        if not 1 < len(expected) <= _MOST_ANSWERS or len(own) < _LEAST_QUESTIONS:
            continue
        if (shown := shown + 1) > _MOST_KINDS:
            return
        systems = {
            name: dict(Counter(one.benchmark.parse(one.sample, one.texts[name]) for one in own))
            for name in names
        }
        yield SaidCounts(benchmark, kind, len(own), dict(expected), systems)


# -- gallery ----------------------------------------------------------------------------------


def _gallery(
    asked: Sequence[_Asked],
    names: Sequence[str],
    before: str | None,
    after: str,
    exports: Sequence[str],
) -> Iterable[ShownQuestion]:
    groups: dict[Outcome, list[_Asked]]
    if before and exports:
        steady = [one for one in asked if all(one.right(name) for name in (after, *exports))]
        groups = {
            "kept": [one for one in steady if one.right(before)],
            "learned": [one for one in steady if not one.right(before)],
            "flipped": [
                one for one in asked if any(one.right(e) != one.right(after) for e in exports)
            ],
            # What training has not reached is what one looks at next.
            "wrong": [
                one for one in asked if not any(one.right(name) for name in (after, *exports))
            ],
        }
    else:
        groups = {
            "right": [one for one in asked if one.right(after)],
            "wrong": [one for one in asked if not one.right(after)],
        }
    taken: set[str] = set()
    for outcome, own in groups.items():
        for one in _varied(own, taken):
            yield _shown(one, outcome, names)


def _varied(asked: Sequence[_Asked], taken: set[str]) -> list[_Asked]:
    """Return a few questions of different kinds about different images, spread over all."""
    kinds: dict[tuple[str, str], list[_Asked]] = {}
    for one in asked:
        kinds.setdefault((one.benchmark.name, one.sample.kind), []).append(one)
    # More of each kind than are shown: several questions are about one image.
    queues = [spread(own, min(len(own), 3 * _SHOWN)) for own in kinds.values()]
    chosen: list[_Asked] = []
    while any(queues) and len(chosen) < _SHOWN:
        for queue in queues:
            while queue and queue[0].sample.cluster in taken:
                queue.pop(0)
            if queue and len(chosen) < _SHOWN:
                taken.add(queue[0].sample.cluster)
                chosen.append(queue.pop(0))
    return chosen


def _shown(one: _Asked, outcome: Outcome, names: Sequence[str]) -> ShownQuestion:
    said: dict[str, list[str]] = {}
    for name in names:
        said.setdefault(one.texts[name], []).append(name)
    own = one.benchmark
    # Images of official releases have terms of their own; a report is passed on.
    open_images = own.name not in BENCHMARKS or not own.official
    return ShownQuestion(
        benchmark=own.name,
        key=one.sample.key,
        kind=one.sample.kind,
        question=one.sample.question,
        expected=one.sample.reference,
        outcome=outcome,
        image=_thumbnail(one.sample) if open_images else "",
        answers=tuple(
            SharedAnswer(text, one.credits[systems[0]], tuple(systems), own.parse(one.sample, text))
            for text, systems in said.items()
        ),
        lead=one.lead,
    )


def _thumbnail(sample: Sample) -> str:
    if sample.image is None:
        return ""
    try:
        return image_address(sample.image.open())
    except HydraError:
        # Answered and scored it was; a picture that has gone since is no reason to fail.
        return ""


def image_address(image: Image.Image) -> str:
    """Return an image as a `data:` address, at most 320 pixels wide and high."""
    image = image.copy()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
