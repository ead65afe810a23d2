"""Folders of an evaluation: one for each artifact, and in it one for each benchmark it answers.

    <artifact>/facts.json                  speed and memory
    <artifact>/<benchmark>-<key>/          request.json, questions.jsonl, answers.jsonl, ...
    <artifact>/shard-2-of-4/<benchmark>-<key>/   the same, of one shard

Names carry fingerprints: answers of another artifact, of other questions or of another way of
asking lie elsewhere and are never taken for these.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.question import write_questions
from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.locks import exclusive
from hydra_mobile.evaluation.spec import EvalSpec
from hydra_mobile.evaluation.store.prediction_log import PredictionLog
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.runtimes.model_ref import ModelRef

REQUEST, QUESTIONS, FACTS, LOGITS = "request.json", "questions.jsonl", "facts.json", "logits"
DONE = "done.json"
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class TaskDir:
    """One artifact's answers to one benchmark.

    Attributes:
        artifact: what answers.
        spec: the questions.
        folder: of the answers.
        home: name of the artifact's folder, the same for every shard.
    """

    artifact: ModelRef
    spec: EvalSpec
    folder: Path
    home: str

    @property
    def log(self) -> PredictionLog:
        """The answers."""
        return PredictionLog(self.folder)

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.artifact.name}, {self.spec.benchmark.name}"


@dataclass(frozen=True)
class ArtifactDir:
    """One artifact's answers to all benchmarks, or its shard of them.

    Attributes:
        artifact: what answers.
        folder: the artifact's.
        work: where this shard's answers are; `folder` itself when there is one shard.
        tasks: one for each benchmark.
        torch_device: where eager torch runs; "" for other runtimes.
    """

    artifact: ModelRef
    folder: Path
    work: Path
    tasks: tuple[TaskDir, ...]
    torch_device: str = ""

    @classmethod
    def prepare(
        cls,
        artifact: ModelRef,
        specs: Sequence[EvalSpec],
        root: Path,
        shard: Shard,
        torch_device: str = "cpu",
    ) -> ArtifactDir:
        """Name and make the folders; `locked` writes what workers read."""
        device = torch_device if artifact.runner == "torch" else ""
        home = artifact_folder(artifact, device)
        folder = root / home
        work = folder if shard.whole else folder / shard.folder
        tasks = tuple(
            TaskDir(artifact, each, work / task_folder(each.identity, shard), home)
            for each in specs
        )
        for task in tasks:
            task.folder.mkdir(parents=True, exist_ok=True)
        return cls(artifact, folder, work, tasks, device)

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder against other evaluations; yield the lock's file descriptor.

        Workers inherit it: the lock lasts until the last of them has ended, even when the process
        that started them was killed, so that nobody asks beside a worker that was left over.

        Raises:
            HydraError: another evaluation is at work in the folder.
        """
        with (
            writing(self.work),
            # Workers of a killed evaluation end within seconds.
            exclusive(
                self.work / ".lock", str(self.work), wait=_LOCK_SECONDS, remove=False
            ) as descriptor,
        ):
            self._write_requests()
            yield descriptor

    def _write_requests(self) -> None:
        for task in self.tasks:
            write_questions(task.folder / QUESTIONS, task.spec.questions)
            write_json(task.folder / REQUEST, request_of(task))
        artifact = self.artifact
        loading = {
            "artefact": str(artifact.path.absolute()),
            "runner": artifact.runner,
            "device": artifact.device,
            # `evaluate` hashed it before anything was written here.
            "verified": artifact.kind == "bundle",
            "torch_device": self.torch_device,
        }
        write_json(self.work / REQUEST, loading | {"jobs": [t.folder.name for t in self.tasks]})
        if self.work != self.folder:
            write_json(self.folder / REQUEST, loading | {"jobs": []})


def artifact_folder(artifact: ModelRef, device: str = "") -> str:
    """Return the name of an artifact's folder, which changes with its contents.

    Another kind of torch device rounds differently: its answers lie elsewhere too.
    """
    kind = device.partition(":")[0]
    place = f"-{kind}" if kind not in ("", "cpu") else ""
    return f"{artifact.kind}-{artifact.runner}-{artifact.preset}-{artifact.identity[:12]}{place}"


def task_folder(identity: dict[str, Any], shard: Shard) -> str:
    """Return the name of a benchmark's folder, which changes with what is asked.

    A shard's pictures are checked by the shard itself: only the whole has them in its name, and a
    shard in its own.
    """
    return f"{identity['benchmark']}-{digest_of(identity | {'shard': str(shard)})}"


def request_of(task: TaskDir) -> dict[str, Any]:
    """Return what a worker needs, and what a merge compares, as JSON values."""
    return {
        "artefact": {
            "name": task.artifact.name,
            "kind": task.artifact.kind,
            "runner": task.artifact.runner,
            "preset": task.artifact.preset,
            "identity": task.artifact.identity,
            "folder": task.home,
        },
        "asked": task.spec.request(),
        "identity": task.spec.identity,
        "in_shard": len(task.spec.questions),
        "max_new_tokens": task.spec.benchmark.max_new_tokens,
        "image_fit": task.spec.benchmark.image_fit,
    }


def digest_of(value: Any) -> str:
    """Return twelve hexadecimal digits that change with a JSON value."""
    return hashlib.sha256(dumps(value, sort_keys=True).encode()).hexdigest()[:12]
