"""Experiment trackers beside metrics.jsonl, through accelerate; none is needed.

A tracker that fails while training goes on is left out from there: hours of training do not end for
a page. A resumed run goes on in the same run of its tracker.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from hydra_mobile.core.boundaries import reason_of, shown
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError, MissingPackageError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.progress import Log
from hydra_mobile.core.registry import require_packages

PROJECT = "hydra-mobile"
# What is stored later is not found again (trackio), or is lost where the process is killed (wandb).
_TAKE_SETTINGS_AT_START = ("trackio", "wandb")
# Some end the process where they find no account.
_FAULTS = (Exception, SystemExit)


def require_trackers(names: Sequence[str]) -> None:
    """Raise unless the packages of the trackers are installed.

    Raises:
        HydraError: one is not; names the extra.
    """
    for name in names:
        require_packages((name,), name)
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is None:
            # Trackers leave folders of their own names behind, which Python takes for packages.
            raise MissingPackageError(
                f"The package `{name}` is not installed.",
                f'Install it with: pip install "hydra-mobile[{name}]"',
                where="runtime.trackers",
                found=f"the folder {next(iter(found.submodule_search_locations or ()), '')}",
                expected="the package",
            )


class Trackers:
    """The trackers of one run.

    Args:
        names: of `runtime.trackers`.
        run: the run folder; what trackers write offline goes to `trackers/` in it.
        settings: the run's configuration.
        resumed_at: the last step that a resumed run has; None for a new one.
        history: what was logged up to there, by step.
        log: receives a line where a tracker fails.

    Raises:
        HydraError: a tracker cannot start.
    """

    def __init__(
        self,
        names: Sequence[str],
        run: Path,
        settings: Mapping[str, Any],
        resumed_at: int | None,
        log: Log,
        history: Iterable[tuple[int, Mapping[str, Any]]] = (),
    ) -> None:
        self._log = log
        self._settings = _flat(settings)
        self._folder = run / "trackers"
        self._run = run
        self._live: dict[str, Any] = {}
        ids = self._ids() if names else {}
        for name in names:
            try:
                tracker = self._made(name, ids, resumed_at)
                tracker.start()
                if resumed_at is None and name not in _TAKE_SETTINGS_AT_START:
                    tracker.store_init_configuration(self._settings)
                if resumed_at is not None and name == "wandb" and tracker.run.offline:
                    # The folder of a killed process may lack all that it had not written yet.
                    for step, values in history:
                        tracker.log(dict(values), step=step)
            except HydraError:
                raise
            except _FAULTS as error:
                raise ConfigError(
                    f"The tracker `{name}` cannot start: {reason_of(error)}.",
                    "Set it up (most read environment variables), or leave it out of "
                    "runtime.trackers",
                    where="runtime.trackers",
                    found=name,
                ) from error
            self._live[name] = tracker
            if name == "mlflow":
                ids["mlflow"] = tracker.active_run.info.run_id
        if names:
            write_json(self._folder / "ids.json", ids)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log numbers and texts of a step, counted over all stages."""
        for name, tracker in list(self._live.items()):
            try:
                tracker.log(dict(values), step=step)
            except _FAULTS as error:
                self._log(f"tracker {name} is left out from here: {reason_of(error)}")
                del self._live[name]

    def finish(self) -> None:
        """Close all of them."""
        for name, tracker in self._live.items():
            try:
                tracker.finish()
            except _FAULTS as error:
                self._log(f"tracker {name} did not close: {reason_of(error)}")
        self._live = {}

    def _ids(self) -> dict[str, str]:
        file = self._folder / "ids.json"
        if file.is_file():
            known = read_json(file, "the names of a run in its trackers")
            if isinstance(known, dict):
                return {str(name): str(found) for name, found in known.items()}
            raise ArtifactError(
                f"{file} holds {shown(known)}: expected names of trackers and of the run in them.",
                "Remove the file: the run then begins anew in its trackers.",
                where=str(file),
            )
        return {"wandb": uuid4().hex[:12], "trackio": f"{self._run.name}-{uuid4().hex[:6]}"}

    def _made(self, name: str, ids: Mapping[str, str], resumed_at: int | None) -> Any:
        make = LOGGER_TYPE_TO_CLASS[name]
        if name == "tensorboard":
            # What was logged behind the checkpoint is logged again: readers drop the first.
            later = {} if resumed_at is None else {"purge_step": resumed_at + 1}
            return make("tensorboard", self._folder, **later)
        if name == "wandb":
            self._folder.mkdir(parents=True, exist_ok=True)
            return make(
                PROJECT,
                dir=str(self._folder),
                id=ids[name],
                name=self._run.name,
                resume="allow",
                config=self._settings,
            )
        if name == "trackio":
            return make(PROJECT, name=ids[name], resume="allow", config=self._settings)
        return make(PROJECT, run_id=ids.get(name), run_name=self._run.name)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return nested settings as `section.key`, with values that every tracker takes."""
    flat: dict[str, str | int | float | bool] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item if isinstance(item, str | int | float | bool) else str(item)
    return flat
