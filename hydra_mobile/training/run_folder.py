"""The run folder: what it was started with, its checkpoints, and who may write to it.

Of several processes only the first writes.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import yaml

from hydra_mobile.config import TrainConfig
from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.core.files import read_json, write_atomically, write_json
from hydra_mobile.core.locks import exclusive
from hydra_mobile.training.begun import checkpoints_in, is_begun
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.metrics import STAGES
from hydra_mobile.training.run_identity import changes, run_record

# A killed run's processes for data end within seconds.
_WAIT_SECONDS = 3.0


class RunFolder:
    """`run.json`, `config.yaml` and `checkpoints/` of a run."""

    def __init__(self, config: TrainConfig, processes: int, base_sha256: str = "") -> None:
        self.path = Path(config.output)
        self._config = config
        self._processes = processes
        self._base_sha256 = base_sha256
        self._held = contextlib.ExitStack()

    def open(self, resume: bool) -> None:
        """Start a run here, or make sure that the one that is here can go on.

        The folder is then this process's own, until `close`. A start that ended before its first
        checkpoint left nothing to go on from: it may be started anew, with other settings too.

        Raises:
            HydraError: another process trains here (names its id, host and start), the folder
                holds nothing to resume, or was started with other settings or data.
        """
        with writing(self.path):
            if not resume or self.path.is_dir():
                self.path.mkdir(parents=True, exist_ok=True)
                lock = self.path / ".training.lock"
                self._held.enter_context(
                    exclusive(lock, f"The run {self.path}", wait=_WAIT_SECONDS)
                )
        try:
            self._open(resume)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others train here."""
        self._held.close()

    def _open(self, resume: bool) -> None:
        record = self.path / "run.json"
        identity = run_record(self._config, self._processes, self._base_sha256)
        begun = is_begun(self.path) or (resume and record.exists())
        if not begun:
            if resume:
                raise ArtifactError(
                    f"{self.path} holds no run to resume.", "Leave --resume out to start one."
                )
            text = yaml.safe_dump(self._config.to_dict(), sort_keys=False)
            with write_atomically(self.path / "config.yaml") as temporary:
                temporary.write_text(text)
            write_json(record, identity)
            return
        if not resume:
            raise HydraError(
                f"{self.path} already holds a run.",
                "Go on with --resume, or choose another folder with output=...",
            )
        recorded = read_json(record, "the identity of a run")
        changed = changes(recorded, identity)
        if changed:
            raise ConfigError(
                f"{self.path} was started with other settings: {'; '.join(changed[:5])}.",
                "Resume with the settings of its config.yaml, or start another run.",
            )
        if recorded != identity:
            # Where everything lies today: `merge` looks for the base there.
            write_json(record, identity)

    def checkpoint(self) -> Checkpoint | None:
        """Read the latest checkpoint, if there is one."""
        whole = checkpoints_in(self.path)
        return Checkpoint.read(whole[-1]) if whole else None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and then remove older ones."""
        name = f"{STAGES.index(checkpoint.stage)}-{checkpoint.stage}-{checkpoint.step:07d}"
        checkpoint.write(self._checkpoints / name)
        # The older one goes only now: at every instant one checkpoint is whole.
        whole = checkpoints_in(self.path)
        places = [path.name for path in whole]
        for other in whole[: places.index(name)]:
            shutil.rmtree(other)

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"
