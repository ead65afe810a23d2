"""What every artifact is evaluated on: the questions of one benchmark, and a fingerprint of them.

Answers may be used again only for the same questions, asked in the same way about the same
pictures. The fingerprint compares without any path, so that shards of different machines compare.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.pictures import FilePicture, Picture
from hydra_mobile.benchmarks.question import Question, questions_of
from hydra_mobile.benchmarks.types import Sample
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.evaluation.store.shards import WHOLE, Shard

#: Sums of fingerprints of pictures are kept to so many bits.
_MODULUS = 2**128


@dataclass(frozen=True)
class EvalSpec:
    """The questions of one benchmark, read once.

    Attributes:
        benchmark: gives the prompts and scores the answers.
        samples: all questions, whatever the shard.
        questions: those of the shard whose pictures are present.
        identity: equal for equal questions asked in the same way; `pictures` is of the shard.
        splits: which ones; empty for all.
        limit: about how many of each split; None for all.
        shard: which part of the questions.
        allow_partial: leave out questions that cannot be asked.
    """

    benchmark: Benchmark
    samples: Sequence[Sample]
    questions: Sequence[Question]
    identity: dict[str, Any]
    splits: tuple[str, ...] = ()
    limit: int | None = None
    shard: Shard = WHOLE
    allow_partial: bool = False

    @classmethod
    def open(
        cls,
        name: str,
        data: Path,
        *,
        protocol: str = "",
        splits: tuple[str, ...] = (),
        limit: int | None = None,
        shard: Shard = WHOLE,
        allow_partial: bool = False,
    ) -> EvalSpec:
        """Read the questions of a benchmark and fingerprint them.

        Args:
            name: of the benchmark.
            data: the folder of its files.
            protocol: "" for the benchmark's default.
            splits: which ones; empty for all.
            limit: about how many of each split; None for all.
            shard: which part of them.
            allow_partial: leave out questions whose picture is missing.

        Raises:
            DataError: a file is missing or damaged, or pictures of the shard are missing and
                `allow_partial` is off.
            ConfigError: the benchmark has no such protocol.
        """
        benchmark = Benchmark.open(name, data, protocol)
        benchmark.require_writer()
        samples = benchmark.samples(splits=splits, limit=limit)
        questions = questions_of(benchmark, samples)
        identity = {
            "benchmark": benchmark.name,
            "protocol": benchmark.protocol,
            "protocol_facts": benchmark.protocol_facts(),
            "questions": len(samples),
            "asked": _fingerprint(questions),
        }
        found = cls(benchmark, samples, (), identity, splits, limit, shard, allow_partial)
        return found._with(questions)

    def part(self, shard: Shard) -> EvalSpec:
        """Return another part of the same questions, without reading them again."""
        whole = dataclasses.replace(self, shard=shard)
        return whole._with(questions_of(self.benchmark, self.samples))

    def _with(self, questions: Sequence[Question]) -> EvalSpec:
        present = _with_pictures(questions, self)
        identity = self.identity | {"pictures": _pictures(present)}
        return dataclasses.replace(self, questions=present, identity=identity)

    def request(self) -> dict[str, Any]:
        """Return what was requested as JSON values: the key `asked` of a stored request."""
        return {
            "benchmark": self.benchmark.name,
            "data": str(self.benchmark.data.absolute()),
            "protocol": self.benchmark.protocol,
            "splits": list(self.splits),
            "limit": self.limit,
            "shard": str(self.shard),
            "allow_partial": self.allow_partial,
        }


def combined_pictures(fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of the pictures of all shards from those of each."""
    return f"{sum(int(each, 16) for each in fingerprints) % _MODULUS:032x}"


def _with_pictures(questions: Sequence[Question], spec: EvalSpec) -> list[Question]:
    """Return the questions of the shard that can be asked; name the pictures that are missing."""
    name = spec.benchmark.name
    found: dict[str, bool] = {}
    present = []
    for question in spec.shard.of(questions):
        picture = question.image
        if picture is not None and picture.key not in found:
            found[picture.key] = picture.exists()
        if picture is None or found[picture.key]:
            present.append(question)
    missing = [key for key, there in found.items() if not there]
    if missing and not spec.allow_partial:
        raise DataError(
            f"{name}: {len(missing)} of {len(found)} images are missing: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}.",
            "Complete the folder (`hydra-mobile benchmarks check` lists what is present), or "
            "leave their questions out with --allow-partial, which marks the result.",
        )
    if not present:
        raise DataError(
            f"{name}: no questions" + (f" in shard {spec.shard}." if not spec.shard.whole else "."),
            "Check --data, --limit and --shard.",
        )
    return present


def _fingerprint(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        line = [question.key, question.text, question.image is not None]
        digest.update(dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _pictures(questions: Sequence[Question]) -> str:
    """Return a fingerprint of which picture belongs to which question: a sum, so shards add up.

    A picture counts with its size in bytes: reading all of them would take minutes, and another
    picture of the same name hardly ever has the same size.
    """
    total = 0
    sizes: dict[str, int] = {}
    for question in questions:
        if question.image is None:
            continue
        key = question.image.key
        if key not in sizes:
            sizes[key] = _size(question.image)
        digest = hashlib.sha256(dumps([question.key, sizes[key]]).encode()).digest()
        total += int.from_bytes(digest[:16], "big")
    return f"{total % _MODULUS:032x}"


def _size(picture: Picture) -> int:
    return picture.path.stat().st_size if isinstance(picture, FilePicture) else 0
