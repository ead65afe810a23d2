"""Shards to a whole: puts the answers of several processes or machines into one log.

Refuses whatever would give a score of something else: shards of different artifacts, questions or
protocols, a question answered in two of them, shards that are missing or not finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.evaluation.spec import combined_pictures
from hydra_mobile.evaluation.store.prediction_log import PredictionLog, read_answers
from hydra_mobile.evaluation.store.shards import WHOLE, Shard
from hydra_mobile.evaluation.store.work_dir import LOGITS, REQUEST, digest_of, task_folder

_SAME = ("artefact", "splits", "limit", "benchmark", "protocol", "protocol_facts", "asked")


@dataclass(frozen=True)
class ShardAnswers:
    """One shard's folder.

    Attributes:
        folder: holds request.json and answers.
        request: what was requested, see `work_dir.request_of`.
    """

    folder: Path
    request: dict[str, Any]

    @property
    def shard(self) -> Shard:
        """Which part it is."""
        return Shard.parse(self.request["asked"]["shard"])

    @property
    def kind(self) -> dict[str, Any]:
        """What shards of one whole have in common."""
        identity, asked = self.request["identity"], self.request["asked"]
        everything = identity | {key: asked[key] for key in ("splits", "limit")}
        artifact = self.request["artefact"]
        everything["artefact"] = [artifact["name"], artifact["identity"]]
        return {key: everything[key] for key in _SAME} | {"shards": self.shard.count}

    @property
    def title(self) -> str:
        """What people call the whole."""
        return f"{self.request['artefact']['name']}, {self.request['identity']['benchmark']}"

    def answers(self) -> Iterator[AnswerLine]:
        """Yield its answers, each once, also those of workers that were not gathered."""
        log = PredictionLog(self.folder)
        seen: set[str] = set()
        for file in (log.file, *log.parts()):
            for answer in read_answers(file):
                if answer.key not in seen:
                    seen.add(answer.key)
                    yield answer


@dataclass(frozen=True)
class Merged:
    """What a merge made.

    Attributes:
        title: artifact and benchmark.
        folder: of the merged answers.
        answers: how many there are.
        questions: how many there should be.
    """

    title: str
    folder: Path
    answers: int
    questions: int


def find_shards(folders: Sequence[Path]) -> list[ShardAnswers]:
    """Return the shards in `folders` and below them.

    Raises:
        DataError: a folder is missing or holds none.
    """
    found: dict[Path, ShardAnswers] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder: expected one with answers of a shard.")
        shards = [
            ShardAnswers(file.parent, request)
            for file in sorted(folder.rglob(REQUEST))
            if "asked" in (request := read_json(file, "the request of a benchmark"))
            and request["asked"]["shard"] != str(WHOLE)
        ]
        if not shards:
            raise DataError(
                f"{folder} holds no answers of a shard.",
                "Give what `hydra-mobile evaluate --shard i/n --out DIR` wrote to DIR.",
            )
        found |= {shard.folder.resolve(): shard for shard in shards}
    return list(found.values())


def merge_all(folders: Sequence[Path], out: Path, *, allow_partial: bool = False) -> list[Merged]:
    """Merge every benchmark of every artifact whose shards are in `folders`.

    Args:
        folders: of shards, or above them.
        out: gets `answers/<artifact>/<benchmark>/answers.jsonl`, where `evaluate --out` finds it.
        allow_partial: merge although shards or answers are missing.

    Raises:
        DataError: the shards are not those of one whole; says how they differ.
    """
    wholes: dict[str, list[ShardAnswers]] = {}
    for shard in find_shards(folders):
        wholes.setdefault(digest_of(shard.kind), []).append(shard)
    _require_alike(list(wholes.values()))
    return [
        merge(
            shards,
            out / "answers" / shards[0].request["artefact"]["folder"],
            allow_partial=allow_partial,
        )
        for shards in wholes.values()
    ]


def merge(shards: Sequence[ShardAnswers], folder: Path, *, allow_partial: bool = False) -> Merged:
    """Merge the shards of one benchmark into a folder below `folder`, the artifact's.

    Raises:
        DataError: a question was answered in two shards, or something is missing and
            `allow_partial` is off.
    """
    ordered = sorted(shards, key=lambda shard: shard.shard.number)
    _require_no_overlap(ordered)
    found = {shard.folder: sum(1 for _ in shard.answers()) for shard in ordered}
    if not allow_partial:
        _require_complete(ordered, found)
    request = ordered[0].request
    identity = request["identity"] | {
        "pictures": combined_pictures([s.request["identity"]["pictures"] for s in ordered])
    }
    target = folder / task_folder(identity, WHOLE)
    target.mkdir(parents=True, exist_ok=True)
    log = PredictionLog(target)
    log.gather()
    for number, shard in enumerate(ordered):
        appender = log.append(number)
        for answer in shard.answers():
            appender.add(answer)
        appender.close()
        _copy_notes(shard, target)
    write_json(
        target / REQUEST,
        request
        | {
            "asked": request["asked"] | {"shard": str(WHOLE)},
            "identity": identity,
            "in_shard": identity["questions"],
            "merged_from": [str(shard.shard) for shard in ordered],
        },
    )
    return Merged(ordered[0].title, target, log.gather(), identity["questions"])


def _require_alike(wholes: Sequence[Sequence[ShardAnswers]]) -> None:
    """Raise when shards that look like one whole are of several."""
    for place, one in enumerate(wholes):
        for other in wholes[place + 1 :]:
            ours, theirs = one[0].kind, other[0].kind
            differ = [key for key in ours if ours[key] != theirs[key]]
            whole = all(len(each) == each[0].shard.count for each in (one, other))
            if whole or "benchmark" in differ:
                continue
            named = "; ".join(
                f"{key.replace('artefact', 'artifact')} {_shown(ours[key])} / {_shown(theirs[key])}"
                for key in differ
            )
            raise DataError(
                f"{one[0].folder} and {other[0].folder} are no shards of one whole. "
                f"They differ in: {named}.",
                "Give the shards of one artifact with the same questions and protocol.",
            )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _require_no_overlap(shards: Sequence[ShardAnswers]) -> None:
    numbers: dict[int, ShardAnswers] = {}
    owner: dict[str, ShardAnswers] = {}
    for shard in shards:
        twin = numbers.setdefault(shard.shard.number, shard)
        if twin is not shard:
            raise DataError(
                f"Shard {shard.shard} of {shard.title} is there twice: {twin.folder} and "
                f"{shard.folder}.",
                "Give each shard once.",
            )
        for answer in shard.answers():
            other = owner.setdefault(answer.key, shard)
            if other is not shard:
                raise DataError(
                    f"{shard.title}: the question {answer.key} was answered in shard "
                    f"{other.shard} and in shard {shard.shard}.",
                    "Give shards of one division: i/n with the same n.",
                )


def _require_complete(shards: Sequence[ShardAnswers], found: dict[Path, int]) -> None:
    count = shards[0].shard.count
    there = {shard.shard.number for shard in shards}
    problems = [
        f"shard {number}/{count} is missing"
        for number in range(1, count + 1)
        if number not in there
    ]
    problems += [
        f"shard {shard.shard} has {found[shard.folder]} of {shard.request['in_shard']} answers"
        for shard in shards
        if found[shard.folder] < shard.request["in_shard"]
    ]
    questions = shards[0].request["identity"]["questions"]
    if not problems and sum(found.values()) != questions:
        problems = [f"{sum(found.values())} answers to {questions} questions"]
    if problems:
        raise DataError(
            f"{shards[0].title} is not complete: {'; '.join(problems)}.",
            "Finish the shards (the same command goes on), or merge what is there with "
            "--allow-partial.",
        )


def _copy_notes(shard: ShardAnswers, target: Path) -> None:
    """Copy what the workers kept besides answers: some logits, and their memory."""
    for file in sorted((shard.folder / LOGITS).glob("*.npy")):
        (target / LOGITS).mkdir(exist_ok=True)
        (target / LOGITS / file.name).write_bytes(file.read_bytes())
    for file in sorted(shard.folder.glob("worker-*.json")):
        name = file.name.replace("worker-", f"worker-{shard.shard.number}-")
        (target / name).write_bytes(file.read_bytes())
