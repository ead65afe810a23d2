"""`train` and `dry_run`: a configuration to a run, or one step of it that writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_mobile.api.run import Run
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.progress import Log, LogProgress, Progress
from hydra_mobile.core.quiet import quietly

if TYPE_CHECKING:
    from hydra_mobile.estimation.training_work import TrainingWork
    from hydra_mobile.training.dry_run import DryRun

__all__ = ["ConfigLike", "DryRun", "TrainingWork", "dry_run", "plan_training", "train"]

#: A YAML file, the name of a packaged configuration, nested values, or None for the defaults.
ConfigLike = str | Path | TrainConfig | Mapping[str, Any] | None


def train(
    config: ConfigLike = None,
    *overrides: str,
    resume: bool = False,
    log: Log = print,
    progress: Progress | None = None,
    **sections: Any,
) -> Run:
    """Train a projector and HyDRA adapters.

    Args:
        config: a YAML file, the name of a packaged configuration ("emojiqa-smol"), a
            `TrainConfig`, nested values, or None for the defaults.
        overrides: `section.key=value` as on the command line, over the configuration.
        resume: continue from the last checkpoint of the run folder. A finished run is returned
            as it is.
        log: receives a line for each event.
        progress: shows the stages; None: lines of `log`.
        sections: values over all of that: `base="tiny"`, `stage2={"steps": 400}`.

    Returns:
        The run. Interrupted (`KeyboardInterrupt` passes through), its folder can be resumed.

    Raises:
        ConfigError: a key or value of the settings is wrong.
        HydraError: the run folder is in use or was started with other settings or data; a data
            file, the base or the disk is at fault.
    """
    with quietly():
        settings = load_config(config, overrides, sections)
        from hydra_mobile.estimation.training_work import remember_training
        from hydra_mobile.training.run import TrainingRun

        began = time.monotonic()
        TrainingRun(settings, log, progress or LogProgress(log)).train(resume)
        run = Run.open(settings.output)
        # Of a resumed run, the time of its first part is not known.
        if not resume and os.environ.get("RANK", "0") == "0":
            remember_training(settings, run.summary, time.monotonic() - began)
        return run


def plan_training(config: ConfigLike = None, *overrides: str, **sections: Any) -> TrainingWork:
    """Return what `train` would do and what it would cost; arguments are those of `train`.

    Data files are counted where they are small. Time and memory are those of the last run of the
    same kind on this machine, and not known where there was none.

    Raises:
        ConfigError: a key or value of the settings is wrong.
        DataError: a data file is not LLaVA json.
    """
    with quietly():
        from hydra_mobile.estimation.training_work import training_work

        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return training_work(load_config(config, overrides, sections), processes)


def dry_run(
    config: ConfigLike = None,
    *overrides: str,
    log: Log = print,
    progress: Progress | None = None,
    **sections: Any,
) -> DryRun:
    """Take one step of stage II and return what the run would do; nothing is written.

    Args and errors are those of `train`.
    """
    with quietly():
        from hydra_mobile.training.dry_run import dry_run as take_a_step

        settings = load_config(config, overrides, sections)
        return take_a_step(settings, log, progress or LogProgress(log))
