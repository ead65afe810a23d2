"""Evaluation without processes of its own."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hydra_mobile.evaluation.store.shards import Shard


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers run inside the test: a process of their own takes seconds to import torch."""
    from hydra_mobile.core.errors import HydraError
    from hydra_mobile.evaluation.workers import pool as worker_pool
    from hydra_mobile.evaluation.workers import process as worker

    def start(
        task: str, folder: Path, threads: int, part: Shard, lock: int, log: Path
    ) -> SimpleNamespace:
        code = 0
        try:
            worker.answer(folder, threads, part) if task == "answer" else worker.measure(folder, 1)
        except HydraError as error:
            log.write_text(str(error))
            code = error.exit_code
        return SimpleNamespace(
            returncode=code,
            pid=os.getpid(),
            poll=lambda: code,
            wait=lambda: code,
            terminate=lambda: None,
        )

    monkeypatch.setattr(worker_pool, "_start", start)
    monkeypatch.setattr(worker_pool, "_POLL_SECONDS", 0.0)
