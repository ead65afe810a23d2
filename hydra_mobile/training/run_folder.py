"""The run folder: what it was started with, and its checkpoints.

Of several processes only the first writes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.training.begun import checkpoints_in, is_begun
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.metrics import STAGES
from hydra_mobile.training.run_identity import (
    RECORD,
    changes,
    read_record,
    run_record,
    write_record,
)


class RunFolder:
    """`run.json`, `config.yaml` and `checkpoints/` of a run."""

    def __init__(
        self, config: TrainConfig, processes: int, base_sha256: str = "", base_revision: str = ""
    ) -> None:
        self.path = Path(config.output)
        self._config = config
        self._processes = processes
        self._base_sha256 = base_sha256
        self._base_revision = base_revision

    def open(self, resume: bool) -> None:
        """Start a run here, or make sure that the one that is here can go on.

        Whoever calls it is alone in the folder, see `begun.alone_in`. A start that ended before its
        first checkpoint left nothing to go on from: it may be started anew, with other settings
        too.

        Raises:
            HydraError: the folder holds nothing to resume, or was started with other settings or
                data.
        """
        identity = run_record(self._config, self._processes, self._base_sha256, self._base_revision)
        begun = is_begun(self.path) or (resume and (self.path / RECORD).exists())
        if not begun:
            if resume:
                raise ArtifactError(
                    f"{self.path} holds no run to resume.", "Leave --resume out to start one."
                )
            # First what a run is recognized by: a start that is killed between the two goes anew.
            write_record(self.path, identity)
            text = yaml.safe_dump(self._config.to_dict(), sort_keys=False)
            with write_atomically(self.path / "config.yaml") as temporary:
                temporary.write_text(text)
            return
        if not resume:
            raise HydraError(
                f"{self.path} already holds a run.",
                "Go on with --resume, or choose another folder with output=...",
            )
        recorded = read_record(self.path)
        changed = changes(recorded, identity)
        if changed:
            raise ConfigError(
                f"{self.path} was started with other settings: {'; '.join(changed[:5])}.",
                "Resume with the settings of its config.yaml, or start another run.",
            )
        if recorded != identity:
            # Where everything lies today: `merge` looks for the base there.
            write_record(self.path, identity)

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

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint that validated best, beside an older one."""
        checkpoint.write(self._best_folder / f"{checkpoint.step:07d}")

    def best(self, step: int) -> Checkpoint:
        """Read the checkpoint that validated best.

        Raises:
            ArtifactError: it is missing or altered.
        """
        return Checkpoint.read(self._best_folder / f"{step:07d}")

    def keep_best(self, step: int) -> None:
        """Remove the best checkpoints but that of `step`, which the last checkpoint names."""
        for other in self._best_folder.glob("[0-9]" * 7):
            if int(other.name) != step:
                shutil.rmtree(other)

    @property
    def _best_folder(self) -> Path:
        return self.path / "best"

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"
