"""`train` and `estimate`: a configuration to a run, or to what the run would need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.api.run import Run
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.progress import Log, LogProgress, Progress
from hydra_mobile.core.quiet import quietly
from hydra_mobile.training.begun import alone_in

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
        with alone_in(Path(settings.output), resume=resume):
            # A run that is in use is refused before torch is imported.
            pass
        from hydra_mobile.training.run import TrainingRun

        TrainingRun(settings, log, progress or LogProgress(log)).train(resume)
        return Run.open(settings.output)
