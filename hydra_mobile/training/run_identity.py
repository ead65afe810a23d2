"""What must not change between a run and its resumption: contents and what changes results.

run.json also keeps where everything lay and how the machine was used; a resumed run may have other
places and threads.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.config import TrainConfig
from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.integrity import SEAL, read_sealed, remembered_sha256, sealed
from hydra_mobile.core.typed import current_names
from hydra_mobile.data.source import Source

RECORD = "run.json"
#: Keys that change no result, or whose contents are compared in place of their names.
_PLACES_AND_MACHINE: tuple[tuple[str, ...], ...] = (
    ("base",),
    ("output",),
    ("data", "stage1"),
    ("data", "stage2"),
    ("data", "images"),
    ("ranks", "map_file"),
    ("runtime", "threads"),
    ("runtime", "workers"),
    ("runtime", "vision_cache"),
    ("runtime", "memory_check"),
    ("runtime", "log_every"),
    ("runtime", "checkpoint_every"),
    ("runtime", "sample_answers"),
    ("runtime", "trackers"),
)


#: What runs did before there was a key for it, where that is not the key's default of today: a new
#: key's default leaves everything as it was.
_BEFORE: Mapping[str, Any] = {
    "stage1": {"loss_reduction": "micro_batches"},
    "stage2": {"loss_reduction": "micro_batches"},
    "data": {"bad_pictures": "stop"},
}


def run_record(
    config: TrainConfig, processes: int, base_sha256: str = "", base_revision: str = ""
) -> dict[str, Any]:
    """Return the content of run.json.

    Args:
        config: of the run.
        processes: that train together.
        base_sha256: hash of the base's weights; "" where it is not known.
        base_revision: commit of the hub that the base is of; "" where none is known.

    Raises:
        DataError: a file of the run cannot be read.
    """
    data = {"stage1": config.data.stage1, "stage2": config.data.stage2}
    if isinstance(config.data.validation, str) and config.data.validation:
        data["validation"] = config.data.validation
    hashes = {}
    for name, file in {**data, "map_file": config.ranks.map_file}.items():
        if file:
            with reading(file, "data of the run", "Check its path.", error_class=DataError):
                path = Path(file)
                hashes[name] = Source(path).sha256() if name in data else remembered_sha256(path)
    record = {"config": config.to_dict(), "data": hashes, "processes": processes}
    known = {"base_sha256": base_sha256, "base_revision": base_revision}
    return {**record, **{key: value for key, value in known.items() if value}}


def read_record(run: Path) -> dict[str, Any]:
    """Read the run.json of a run folder; earlier versions wrote it without a digest.

    Raises:
        ArtifactError: it is missing, no JSON, or was altered.
    """
    record = read_sealed(
        run / RECORD,
        "the identity of a run",
        "Take it from a copy of the run; its checkpoints and its adapter are whole.",
    )
    record.pop(SEAL, None)
    return record


def recorded_revision(run: Path, base: str) -> str:
    """Return the commit of the hub that a run's base was of; "" for another base or none known."""
    if not (run / RECORD).is_file():
        return ""
    record = read_record(run)
    with reading(run / RECORD, "the identity of a run, with `config.base`"):
        same = record["config"]["base"] == base
        return str(record.get("base_revision", "")) if same else ""


def write_record(run: Path, record: Mapping[str, Any]) -> None:
    """Write the run.json of a run folder, with a digest of its content."""
    write_json(run / RECORD, sealed(record))


def changes(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return "key: old -> new" for everything that a resumption must not change.

    Args:
        recorded: run.json, also of an earlier version.
        now: what `run_record` returns for the resumption.
    """
    old, new = copy.deepcopy(recorded), copy.deepcopy(now)
    recorded_config = current_names(TrainConfig, old.get("config") or {})
    old["config"] = _filled(recorded_config, _filled(_BEFORE, TrainConfig().to_dict()))
    # Older records have fewer hashes: the name is all that can be compared then.
    named: set[tuple[str, ...]] = set()
    if "map_file" not in old.get("data", {}):
        named.add(("ranks", "map_file"))
        new["data"].pop("map_file", None)
    if not ("base_sha256" in old and "base_sha256" in new):
        named.add(("base",))
        old.pop("base_sha256", None)
        new.pop("base_sha256", None)
    if old.get("base_sha256") == new.get("base_sha256"):
        # Where the same weights came from: no difference.
        old.pop("base_revision", None)
        new.pop("base_revision", None)
    for path in _PLACES_AND_MACHINE:
        if path not in named:
            for record in (old, new):
                section = record["config"]
                for key in path[:-1]:
                    section = section.get(key, {})
                section.pop(path[-1], None)
    return _differences(old, new)


def _filled(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with what they lack of nested `defaults`."""
    missing = {key: copy.deepcopy(value) for key, value in defaults.items() if key not in values}
    return missing | {
        key: _filled(value, defaults[key])
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping)
        else value
        for key, value in values.items()
    }


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return "key: old -> new" for every leaf in which two nested dictionaries differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted(set(old) | set(new)):
            found += _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if old == new else [f"{path.removeprefix('config.')}: {old!r} -> {new!r}"]
