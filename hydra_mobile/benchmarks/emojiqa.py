"""The benchmark EmojiQA: existence, choice, name and class questions about emoji drawings.

Reads a folder written by `hydra_mobile.examples.emojiqa.dataset`. Answers to existence questions
are read by POPE's official rule, letters as MMBench's offline rules do, classes as one word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import Benchmark, DataFile, Sample, check_complete
from hydra_mobile.benchmarks.metric import Metric, share
from hydra_mobile.benchmarks.pictures import FilePicture, Picture
from hydra_mobile.benchmarks.pope.scores import read_yesno
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.json_text import loads

_LETTERS = "ABCD"
_MANIFEST = "emojiqa.json"
_MEND = "Build it again with: hydra-mobile data emojiqa --out DIR"


def read_letter(answer: str, options: Sequence[str]) -> str:
    """Read a letter A to D: the text of an option, else the first letter standing alone, else "".

    The option's text comes first, because in "A dog" the A is an article.
    """
    told = _plain(answer)
    same = [letter for letter, text in zip(_LETTERS, options, strict=False) if _plain(text) == told]
    if len(same) == 1:
        return same[0]
    alone = re.search(r"\b([A-D])\b", answer)
    return alone.group(1) if alone else ""


def read_word(answer: str) -> str:
    """Read a short answer: first line, lower-case, without punctuation, article and spaces."""
    return _plain(answer)


def _plain(text: str) -> str:
    first = text.strip().split("\n")[0].lower()
    bare = re.sub(r"[^\w\s'-]", "", first).strip()
    return re.sub(r"^(an?|the)\s+", "", bare)


def same_word(one: str, other: str) -> bool:
    """Say whether two words are equal but for a plural ending."""
    return one == other or _stem(one) == _stem(other)


def _stem(word: str) -> str:
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("s", "")):
        if word.endswith(ending) and not word.endswith("ss"):
            return word.removesuffix(ending) + singular
    return word


class EmojiQA(Benchmark):
    """Questions about drawings of seen names, unseen names and, if built, an unseen artist."""

    name = "emojiqa"
    title = "EmojiQA"
    about = "existence, choice, name and class questions about emoji drawings"
    primary = "accuracy on unseen names"
    also = "each kind of question, existence by absent kind, all rotations right"
    source = "hydra-mobile data emojiqa --out DIR"
    licenses = MappingProxyType({"EmojiQA images": "OpenMoji, CC BY-SA 4.0"})
    official = False
    max_new_tokens = 5

    def splits(self) -> Sequence[str]:
        """Return the splits that were built, seen first."""
        return list(self._files())

    def limited(self, samples: Iterable[Sample], limit: int | None) -> list[Sample]:
        """Keep every kind in its share, and all questions of a picture or none."""
        return _limited(list(samples), limit)

    def parse(self, sample: Sample, answer: str) -> str:
        """Read the answer by the rule of the sample's kind."""
        if sample.kind == "yesno":
            return read_yesno(answer)
        if sample.kind == "choice":
            return read_letter(answer, sample.meta["options"])
        return read_word(answer)

    def is_correct(self, sample: Sample, answer: str) -> bool:
        """Say whether the answer is right; a class may have the ending of a plural."""
        read = self.parse(sample, answer)
        return read == sample.reference or (
            sample.kind == "class" and same_word(read, sample.reference)
        )

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return for every split: all, each kind, existence by absent kind, and circular.

        "circular" counts a choice question only if it is right in all its rotations. The majority
        of "all" is what answers reach that look at no picture, see `majority`. The headline is the
        split of unseen names, if it is there.
        """
        answered = check_complete(samples, answers, partial)
        splits = list(dict.fromkeys(sample.split for sample in answered))
        metrics = []
        for split in splits:
            of_split = [sample for sample in answered if sample.split == split]
            headline = split == ("unseen" if "unseen" in splits else splits[0])
            metrics += self._score_split(split, of_split, answers, headline)
        return metrics

    def files(self) -> list[DataFile]:
        """Return the manifest and the files of questions."""
        try:
            splits = self.splits()
        except DataError:
            splits = ["seen", "unseen"]
        return [
            DataFile(self.places.expected(_MANIFEST), "what was built", required=True),
            *(
                DataFile(self.places.expected(f"test_{split}.jsonl"), "questions", required=True)
                for split in splits
            ),
        ]

    # -- reading ----------------------------------------------------------------------------

    def _files(self) -> dict[str, dict[str, Any]]:
        """Return split -> entry of its file in the manifest, seen first."""
        path = self.places.expected(_MANIFEST)
        try:
            manifest = loads(path.read_text(encoding="utf-8"))
            files = dict(manifest["files"])
        except FileNotFoundError:
            raise DataError(f"{path.parent} has no EmojiQA: {_MANIFEST} is missing.", _MEND) from (
                None
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not readable: {error!r}.", _MEND) from error
        order = ("seen", "unseen", "unseen_artist")
        return {
            split: files[f"test_{split}.jsonl"] for split in order if f"test_{split}.jsonl" in files
        }

    def read(self, split: str) -> list[Sample]:
        """Return the questions of a split; see `Benchmark.read`."""
        files, path = self._files(), self.places.expected(f"test_{split}.jsonl")
        if not path.exists():
            raise DataError(f"{path} is missing.", _MEND)
        found, expected = sha256_of(path), files[split]["sha256"]
        if found != expected:
            raise DataError(f"{path} was altered: sha256 {found}, expected {expected}.", _MEND)
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_sample(loads(line), split, path.parent) for line in lines]

    # -- scoring ----------------------------------------------------------------------------

    def _score_split(
        self, split: str, samples: Sequence[Sample], answers: Mapping[str, str], headline: bool
    ) -> list[Metric]:
        right = {s.key: float(self.is_correct(s, answers[s.key])) for s in samples}
        unread = {s.key for s in samples if not self.parse(s, answers[s.key])}
        parts: dict[str, list[Sample]] = {"all": list(samples)}
        for sample in samples:
            parts.setdefault(sample.kind, []).append(sample)
        for sample in samples:
            if "pair" in sample.meta:
                parts.setdefault(f"{sample.kind} {sample.meta['pair']}", []).append(sample)
        metrics = [
            share(
                split,
                kind,
                [right[sample.key] for sample in chosen],
                [sample.cluster for sample in chosen],
                headline=headline and kind == "all",
                majority=majority(chosen),
                unread=sum(sample.key in unread for sample in chosen),
            )
            for kind, chosen in parts.items()
        ]
        return metrics + _circular(split, samples, right)


def majority(samples: Sequence[Sample]) -> float:
    """Return what answers reach on `samples` that look at no picture.

    That is the best constant answer to each kind of question.
    """
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        counts.setdefault(sample.kind, Counter())[sample.reference] += 1
    return sum(max(counter.values()) for counter in counts.values()) / len(samples)


def _circular(split: str, samples: Sequence[Sample], right: Mapping[str, float]) -> list[Metric]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        if "group" in sample.meta:
            groups.setdefault(sample.meta["group"], []).append(sample)
    if not groups:
        return []
    clusters = [group[0].cluster for group in groups.values()]
    values = [min(right[sample.key] for sample in group) for group in groups.values()]
    # A constant letter is wrong in three rotations of four.
    return [share(split, "circular", values, clusters, majority=0.0)]


def _sample(line: dict[str, Any], split: str, folder: Path) -> Sample:
    return Sample(
        key=line["question_id"],
        image=FilePicture(folder / line["image"]),
        question=line["text"],
        split=split,
        kind=line["category"],
        reference=line["answer"],
        cluster=line["name"],
        meta={**line["meta"], "name": line["name"], "class": line["class"]},
    )


def _limited(samples: list[Sample], limit: int | None) -> list[Sample]:
    """Keep about `limit` samples: every kind in its share, all questions of a picture or none."""
    if limit is None or limit >= len(samples):
        return samples
    left = {
        kind: round(count * limit / len(samples))
        for kind, count in Counter(sample.kind for sample in samples).items()
    }
    kept: set[Picture | None] = set()
    for image, count in Counter((s.image, s.kind) for s in samples).items():
        if left[image[1]] >= count:
            left[image[1]] -= count
            kept.add(image[0])
    return [sample for sample in samples if sample.image in kept]
