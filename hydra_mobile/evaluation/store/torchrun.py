"""Processes that torchrun started, each answering a shard into one folder: the first gathers.

They share a folder and nothing else, so that one which ends early leaves the others to finish.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.evaluation.store.merge_shards import ShardAnswers, merge
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.evaluation.store.work_dir import DONE, REQUEST, ArtifactDir, TaskDir, request_of

_POLL_SECONDS = 1.0
#: The first process gives up on the others when none of them wrote for so long.
_TIMEOUT_SECONDS = 3600.0


def merge_group(
    ours: Sequence[ArtifactDir],
    whole: Sequence[ArtifactDir],
    shards_in_all: int,
    allow_partial: bool,
) -> None:
    """Wait for the other processes' shards and put all answers into the tasks of `whole`.

    Args:
        ours: the shard that this process answered.
        whole: gets the answers.
        shards_in_all: how many processes there are.
        allow_partial: take what there is.

    Raises:
        HydraError: a process wrote nothing for an hour.
        DataError: the shards do not fit together.
    """
    for our, all_of in zip(ours, whole, strict=True):
        for task, target in zip(our.tasks, all_of.tasks, strict=True):
            shards = [
                _wait_for(task, all_of.folder, Shard(number, shards_in_all))
                for number in range(1, shards_in_all + 1)
            ]
            merged = merge(shards, all_of.folder, allow_partial=allow_partial)
            if merged.folder != target.folder:
                raise HydraError(
                    f"{target.title}: images changed during the evaluation.",
                    "Run the same command again.",
                )
            write_json(target.folder / REQUEST, request_of(target))


def _wait_for(task: TaskDir, folder: Path, shard: Shard) -> ShardAnswers:
    """Return a shard's folder once the process that answers it has finished."""
    began = time.time()
    while True:
        for request in (folder / shard.folder).glob(f"{task.spec.benchmark.name}-*/{REQUEST}"):
            made = ShardAnswers(request.parent, read_json(request, "the request of a benchmark"))
            alike = made.kind == ShardAnswers(task.folder, request_of(task)).kind
            if alike and (request.parent / DONE).is_file():
                return made
        newest = max(
            (file.stat().st_mtime for file in folder.rglob("answers*.jsonl")), default=began
        )
        if time.time() - max(began, newest) > _TIMEOUT_SECONDS:
            raise HydraError(
                f"{task.title}: shard {shard} wrote no answer for "
                f"{_TIMEOUT_SECONDS / 60:.0f} minutes; expected it in {folder / shard.folder}.",
                "Processes of one group share --out. Shards of several machines: "
                "`hydra-mobile evaluate --from-shards`.",
            )
        time.sleep(_POLL_SECONDS)
