"""What is asked of every artifact: the questions of one benchmark, and a fingerprint of them.

Answers may be used again only for the same questions, asked in the same way about the same
pictures. The fingerprint says so without any path, so that shards of different machines compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.pictures import EncodedPicture, FilePicture, Picture
from hydra_mobile.core.errors import DataError
from hydra_mobile.evaluation.store.shards import WHOLE, Numbered, Shard

#: Sums of fingerprints of pictures are kept to so many bits.
_MODULUS = 2**128


@dataclass(frozen=True)
class Request:
    """Which questions of one benchmark are asked; JSON values only but for the folder.

    Attributes:
        benchmark: its name.
        data: the folder of its files.
        protocol: the way of asking; "" for the benchmark's own.
        splits: which ones; empty for all.
        limit: about how many of each split; None for all.
        shard: which part of them.
        allow_partial: leave questions out that cannot be asked.
    """

    benchmark: str
    data: Path
    protocol: str = ""
    splits: tuple[str, ...] = ()
    limit: int | None = None
    shard: Shard = WHOLE
    allow_partial: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "benchmark": self.benchmark,
            "data": str(self.data.absolute()),
            "protocol": self.protocol,
            "splits": list(self.splits),
            "limit": self.limit,
            "shard": str(self.shard),
            "allow_partial": self.allow_partial,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Request:
        """Read what `to_dict` returned."""
        return cls(
            benchmark=value["benchmark"],
            data=Path(value["data"]),
            protocol=value["protocol"],
            splits=tuple(value["splits"]),
            limit=value["limit"],
            shard=Shard.parse(value["shard"]),
            allow_partial=value["allow_partial"],
        )


@dataclass(frozen=True)
class Asked:
    """The questions of a request.

    Attributes:
        request: what was asked for.
        benchmark: gives the prompts and judges the answers.
        samples: all questions, whatever the shard.
        questions: those of the shard whose pictures are there, with their places in `samples`.
        identity: equal for equal questions asked in the same way; `pictures` is of the shard.
    """

    request: Request
    benchmark: Benchmark
    samples: Sequence[Sample]
    questions: Sequence[Numbered]
    identity: dict[str, Any]

    @classmethod
    def of(cls, request: Request) -> Asked:
        """Read the questions.

        Raises:
            DataError: a file is missing or damaged, or pictures of the shard are missing and
                `allow_partial` is off.
            ConfigError: the benchmark knows no such protocol.
        """
        benchmark = Benchmark.open(request.benchmark, request.data, request.protocol)
        samples = benchmark.samples(splits=request.splits, limit=request.limit)
        ours = request.shard.of(list(enumerate(samples)))
        there = _with_pictures(ours, request)
        identity = {
            "benchmark": benchmark.name,
            "protocol": benchmark.protocol,
            "protocol_facts": benchmark.protocol_facts(),
            "questions": len(samples),
            "asked": _fingerprint(benchmark, samples),
            "pictures": _pictures(there),
        }
        return cls(request, benchmark, samples, there, identity)


def combined_pictures(fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of the pictures of all shards from those of each."""
    return f"{sum(int(each, 16) for each in fingerprints) % _MODULUS:032x}"


def _with_pictures(questions: Sequence[Numbered], request: Request) -> list[Numbered]:
    """Return the questions that can be asked, or say which pictures are missing."""
    found: dict[str, bool] = {}
    missing: list[str] = []
    there = []
    for item in questions:
        picture = item[1].image
        if picture is not None and picture.key not in found:
            found[picture.key] = picture.exists()
            if not found[picture.key]:
                missing.append(picture.key)
        if picture is None or found[picture.key]:
            there.append(item)
    if missing and not request.allow_partial:
        raise DataError(
            f"{request.benchmark}: {len(missing)} of {len(found)} pictures are missing: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}.",
            "Complete the folder (`hydra-mobile data check-benchmark` says what is there), or "
            "leave their questions out with --allow-partial, which marks the result.",
        )
    if not there:
        raise DataError(
            f"{request.benchmark}: there is nothing to ask"
            + (f" in shard {request.shard}." if not request.shard.whole else "."),
            "Check --data, --limit and --shard.",
        )
    return there


def _fingerprint(benchmark: Benchmark, samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        line = [sample.key, benchmark.prompt(sample), sample.image is not None]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _pictures(questions: Sequence[Numbered]) -> str:
    """Return a fingerprint of which picture belongs to which question: a sum, so shards add up.

    A picture counts with its size in bytes: reading all of them would take minutes, and another
    picture of the same name hardly ever has the same size.
    """
    total = 0
    sizes: dict[str, int] = {}
    for _, sample in questions:
        if sample.image is None:
            continue
        key = sample.image.key
        if key not in sizes:
            sizes[key] = _size(sample.image)
        digest = hashlib.sha256(json.dumps([sample.key, sizes[key]]).encode()).digest()
        total += int.from_bytes(digest[:16], "big")
    return f"{total % _MODULUS:032x}"


def _size(picture: Picture) -> int:
    if isinstance(picture, FilePicture):
        return picture.path.stat().st_size
    return picture.length if isinstance(picture, EncodedPicture) else 0
