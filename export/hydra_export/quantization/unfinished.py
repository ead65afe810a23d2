"""What an export that was cut short has measured and rounded, unit by unit, in the cache.

Rounding is the longest part of an export, ten minutes for a billion weights. What was done stays
under the key of the plan, and the same export goes on there; a plan that is whole is kept by
`plan`, and this is removed. A file that was damaged, or a cache that cannot be written, costs time.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hydra_mobile.adapters.int4_grid import Int4Weight
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, write_atomically, write_json
from hydra_mobile.core.integrity import read_sealed, remembered_sha256, sealed
from hydra_mobile.core.progress import Log, duration

#: Folder of the cache.
SHELF = "rounding"
# Exports that were given up: the newest may still be gone on with.
_MOST = 2
# A log of ten minutes is read line by line.
_SECONDS_BETWEEN_LINES = 20.0
_COSTS = "costs.json"


class Unfinished:
    """The units that are done.

    Args:
        key: of the plan; "": nothing is kept.
    """

    def __init__(self, key: str = "") -> None:
        self._folder = cache_home() / SHELF / key if key else None
        self.taken = 0
        if self._folder is not None:
            _forget_all_but(self._folder)

    def rounded(self, name: str) -> Int4Weight | None:
        """Return a unit that was rounded before; None: it was not."""
        if self._folder is None:
            return None
        file, record = self._folder / f"{name}.safetensors", self._folder / f"{name}.json"
        try:
            facts = read_sealed(record, "the record of a rounded unit", "")
            if remembered_sha256(file, again=True) != facts["sha256"]:
                return None
            with safe_open(file, framework="pt") as tensors:
                pairs, scales = tensors.get_tensor("pairs"), tensors.get_tensor("scales")
        except (ArtifactError, SafetensorError, KeyError, OSError):
            return None
        self.taken += 1
        return Int4Weight(pairs, scales, facts["error"])

    def keep(self, name: str, weight: Int4Weight) -> Int4Weight:
        """Keep a rounded unit, and return it."""
        if self._folder is not None:
            file = self._folder / f"{name}.safetensors"
            with contextlib.suppress(HydraError, OSError):
                with write_atomically(file, synced=False) as temporary:
                    save_file({"pairs": weight.pairs, "scales": weight.scales}, temporary)
                facts = {"error": weight.error, "sha256": remembered_sha256(file, again=True)}
                write_json(file.with_suffix(".json"), sealed(facts))
        return weight

    def costs(self) -> dict[str, float]:
        """Return the divergences that were measured before, by part."""
        if self._folder is None:
            return {}
        try:
            found = read_sealed(self._folder / _COSTS, "the record of costs", "")["costs"]
        except (ArtifactError, KeyError, OSError):
            return {}
        self.taken += len(found)
        return dict(found)

    def keep_costs(self, costs: dict[str, float]) -> None:
        """Keep all divergences that are measured so far."""
        if self._folder is not None:
            with contextlib.suppress(HydraError, OSError):
                write_json(self._folder / _COSTS, sealed({"costs": costs}))

    def remove(self) -> None:
        """Remove all: the plan is whole."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class TimeLeft:
    """Says now and then how much of some layers is done, and how long the rest takes.

    Args:
        what: what is done to them, such as "rounded".
        layers: how many there are.
        log: gets the lines.
    """

    def __init__(self, what: str, layers: int, log: Log) -> None:
        self._what, self._layers, self._log = what, layers, log
        self._began = self._said = time.monotonic()
        self._before = 0.0

    def skipped(self, layers: int) -> None:
        """Note that so many layers were there already: they say nothing about the others."""
        self._before, self._began = layers / self._layers, time.monotonic()

    def done(self, layers: int, share: float | None = None) -> None:
        """Note that so many layers are done in all, which are a share of the work."""
        share = layers / self._layers if share is None else share
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES and share > self._before:
            self._said = now
            left = (now - self._began) / (share - self._before) * (1 - share)
            self._log(f"{self._what} {layers} of {self._layers} layers, {duration(left)} left")


def _forget_all_but(folder: Path) -> None:
    """Remove what exports left that were given up, but the newest."""
    with contextlib.suppress(OSError):
        others = [path for path in folder.parent.iterdir() if path != folder]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_MOST:]:
            shutil.rmtree(path, ignore_errors=True)
