"""From answers and facts to the rows of the report: scores, timings, agreement, parity.

Knows how results become the report's objects; starts nothing and asks nothing. Called by
`evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hydra_export.bundle import Bundle
from hydra_export.targets.base import TEXT_DECODER
from hydra_mobile.evaluation.compare import samples_digest
from hydra_mobile.evaluation.sittings import FACTS, LOGITS, Job, Sitting
from hydra_mobile.files import read_json
from hydra_mobile.reporting.schema import (
    Agreement,
    BenchmarkRun,
    Delegation,
    ParityRow,
    Role,
    Score,
    Spread,
    SystemResult,
    Timings,
)

#: Logits of an exported fp32 program stay this close to torch.
FP32_LOGITS_TOLERANCE = 1e-3
#: A lead of the best token over the second that rounding of weights can easily overturn.
_CLOSE = 1.0
#: How pictures became squares, in the words of the protocols.
_FITS = {
    "pad": "mean colour, to a square",
    "crop": "none, middle square",
    "stretch": "none, stretched",
}
ROLES: dict[str, Role] = {
    "base": "untrained",
    "run": "reference",
    "merged": "reference",
    "bundle": "export",
}


class Answer(NamedTuple):
    """What scoring and comparing need of an answer."""

    text: str
    ids: tuple[int, ...]
    margin: float


@dataclass(frozen=True)
class Answered:
    """One benchmark's answers of one artefact.

    Attributes:
        job: what was asked.
        answers: sample key -> answer.
        run: how it was asked and what it took.
    """

    job: Job
    answers: Mapping[str, Answer]
    run: BenchmarkRun

    @property
    def texts(self) -> dict[str, str]:
        """Sample key -> the answer's text."""
        return {key: answer.text for key, answer in self.answers.items()}

    @property
    def partial(self) -> bool:
        """Whether questions are without an answer."""
        return len(self.answers) < len(self.job.asked.samples)


@dataclass(frozen=True)
class Evaluated:
    """All that is known of one artefact."""

    sitting: Sitting
    facts: dict[str, Any]
    answered: tuple[Answered, ...]

    @property
    def role(self) -> Role:
        """What its row is to the report."""
        return ROLES[self.sitting.artefact.kind]


def collect(sitting: Sitting, out: Path) -> Evaluated:
    """Read what the workers of `sitting` wrote; `out` is the report's folder."""
    facts = read_json(sitting.folder / FACTS, "the facts of an evaluation")
    return Evaluated(sitting, facts, tuple(_answered(job, out) for job in sitting.jobs))


def system_of(evaluated: Evaluated, reference: Evaluated | None) -> SystemResult:
    """Return an artefact's row of the report."""
    artefact, facts = evaluated.sitting.artefact, evaluated.facts
    agreement: dict[str, Agreement] | None = None
    reasons = {}
    compared = reference is not None and evaluated is not reference
    if reference is not None and compared and evaluated.role != "untrained":
        agreement, differences = {}, []
        for ours, theirs in zip(evaluated.answered, reference.answered, strict=True):
            prefix = f"{ours.run.benchmark} " if len(evaluated.answered) > 1 else ""
            agreement |= _agreement(ours, theirs, prefix)
            if any(
                ours.answers[key].text != theirs.answers[key].text for key in _both(ours, theirs)
            ):
                differences.append(prefix + _why_answers_differ(ours, theirs))
        if differences:
            reasons["agreement"] = " ".join(differences)
    delegation: Delegation | None = None
    fallbacks: tuple[str, ...] = ()
    if artefact.kind == "bundle":
        delegation, fallbacks = bundle_facts(artefact.path)
    speed = facts["speed"]
    return SystemResult(
        name=artefact.name,
        runtime=artefact.runner,
        preset=artefact.preset,
        role=evaluated.role,
        artefact=artefact.path.name,
        source_hash=artefact.digest,
        size_bytes=artefact.size_bytes,
        timings=Timings(
            load=Spread.of([facts["load_seconds"]]),
            encode=Spread.of(speed["encode"]),
            prefill_tokens_per_second=Spread.of(speed["prefill_rate"]),
            first_token=Spread.of(speed["first_token"]),
            decode_tokens_per_second=Spread.of(speed["decode_rate"]),
        ),
        peak_memory_bytes=facts["peak_memory_bytes"],
        delegation=delegation,
        scores=tuple(score for each in evaluated.answered for score in _scores(each)),
        agreement=agreement,
        threads=facts["threads"],
        fallbacks=fallbacks,
        reasons=reasons,
        runs=tuple(each.run for each in evaluated.answered),
    )


def bundle_facts(path: Path) -> tuple[Delegation | None, tuple[str, ...]]:
    """Return what a bundle's manifest says of delegation, and its fallbacks."""
    manifest = Bundle.open(path, verify_hashes=False).manifest
    fallbacks = tuple(manifest["fallbacks"])
    # Only ExecuTorch delegates. The decoder stands for the program: it runs once a token.
    decoder = manifest["details"].get("delegation", {}).get(TEXT_DECODER)
    if decoder is None:
        return None, fallbacks
    shares = decoder["share_of_nodes"], decoder["share_of_multiply_accumulates"]
    return Delegation(*shares), fallbacks


def parity_of(evaluated: Evaluated, reference: Evaluated) -> ParityRow | None:
    """Compare first logits on the questions whose logits were kept, and all answers."""
    largest, mean, cosines, top1, same = 0.0, [], [], [], []
    for ours, theirs in zip(evaluated.answered, reference.answered, strict=True):
        for file in sorted((ours.job.folder / LOGITS).glob("*.npy")):
            other = theirs.job.folder / LOGITS / file.name
            if not other.is_file():
                continue
            a, b = np.load(file).astype(np.float64), np.load(other).astype(np.float64)
            difference = np.abs(a - b)
            largest = max(largest, float(difference.max()))
            mean.append(float(difference.mean()))
            cosines.append(float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)))
            top1.append(float(a.argmax() == b.argmax()))
        same += [ours.answers[k].ids == theirs.answers[k].ids for k in _both(ours, theirs)]
    if not mean or not same:
        return None
    exact = evaluated.sitting.artefact.preset == "fp32"
    verdict: Any = "not gated"
    if exact:
        verdict = "pass" if largest <= FP32_LOGITS_TOLERANCE else "fail"
    names = reference.sitting.artefact.name, evaluated.sitting.artefact.name
    return ParityRow(
        rung=f"{names[0]} vs {names[1]} ({len(mean)} questions)",
        max_abs=largest,
        mean_abs=float(np.mean(mean)),
        cosine=float(np.min(cosines)),
        top1_agreement=float(np.mean(top1)),
        greedy_match=float(np.mean(same)),
        tolerance=FP32_LOGITS_TOLERANCE if exact else None,
        verdict=verdict,
    )


def _answered(job: Job, out: Path) -> Answered:
    """Read the answers of a job and add up what they took."""
    answers: dict[str, Answer] = {}
    encode, first_token = [], []
    seconds = inside = 0.0
    for line in job.log.read():
        answers[line["key"]] = Answer(line["text"], tuple(line["ids"]), line["margin"])
        seconds += line["seconds"]
        inside += line["runner_seconds"]
        if line["encode_seconds"] is not None:
            encode.append(line["encode_seconds"])
            first_token.append(line["first_token_seconds"])
    benchmark, samples = job.asked.benchmark, job.asked.samples
    notes = [read_json(f, "a worker's notes") for f in sorted(job.folder.glob("worker-*.json"))]
    facts = dict(benchmark.protocol_facts())
    if notes:
        # What the model's own preprocessing did, whatever the protocol expects of it.
        facts["padding"] = _FITS[notes[0]["image_fit"]]
    run = BenchmarkRun(
        benchmark=benchmark.name,
        protocol=benchmark.protocol,
        facts=facts,
        sources=tuple(str(name) for name in facts.get("files", ())),
        questions=len(samples),
        answered=len(answers),
        samples=samples_digest(samples),
        answers=_below(job.log.file, out),
        timings=Timings(encode=Spread.of(encode), first_token=Spread.of(first_token)),
        seconds=seconds,
        runner_share=inside / seconds if seconds else None,
        peak_memory_bytes=max((note["peak_memory_bytes"] for note in notes), default=None),
    )
    return Answered(job, answers, run)


def _below(file: Path, out: Path) -> str:
    return str(file.relative_to(out)) if file.is_relative_to(out) else file.name


def _scores(answered: Answered) -> list[Score]:
    asked = answered.job.asked
    found = asked.benchmark.score(asked.samples, answered.texts, partial=answered.partial)
    return [
        Score(
            benchmark=asked.benchmark.name,
            split=score.name,
            kind=score.kind,
            value=score.value,
            low=score.low,
            high=score.high,
            n=score.n,
            majority=score.majority,
            unit=score.unit,
            headline=score.headline,
            unread=score.unread,
        )
        for score in found
    ]


def _both(ours: Answered, theirs: Answered) -> list[str]:
    """Return the keys that both answered."""
    return [key for key in ours.answers if key in theirs.answers]


def _agreement(ours: Answered, theirs: Answered, prefix: str) -> dict[str, Agreement]:
    keys: dict[str, list[str]] = {}
    for sample in ours.job.asked.samples:
        if sample.key in ours.answers and sample.key in theirs.answers:
            keys.setdefault(sample.split, []).append(sample.key)
    return {
        prefix + split: Agreement(
            sum(ours.answers[key].text == theirs.answers[key].text for key in of_split),
            len(of_split),
        )
        for split, of_split in keys.items()
    }


def _why_answers_differ(ours: Answered, theirs: Answered) -> str:
    """Say which kinds of question differ, and how sure the reference was of those answers."""
    same: dict[str, list[bool]] = {}
    margins: dict[bool, list[float]] = {True: [], False: []}
    both = set(_both(ours, theirs))
    samples: Sequence[Any] = [s for s in ours.job.asked.samples if s.key in both]
    for sample in samples:
        one, other = ours.answers[sample.key], theirs.answers[sample.key]
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
