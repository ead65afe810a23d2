"""What is computed once and read again: entries of the cache under the hash of all that made them.

An entry holds the hashes of its own files: one that was damaged is made anew. A cache that cannot
be written costs time, not the result. Only the entries used last stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, write_json
from hydra_mobile.core.folders import folder_atomically, recover
from hydra_mobile.core.integrity import hashes_of, read_sealed, require_recorded, sealed
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.locks import exclusive
from hydra_mobile.core.made_once import alone
from hydra_mobile.core.progress import Log
from hydra_mobile.core.temporary import making_lock_of, sibling

Kept = TypeVar("Kept")

_RECORD = "kept.json"
#: Entries of one shelf; those that were used longest ago go when another comes.
_MOST = 8
_MOST_BYTES = 2_000_000_000


def key_of(made_of: Mapping[str, Any]) -> str:
    """Return the name of an entry that is made of these JSON values and of nothing else."""
    return hashlib.sha256(dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def kept(
    shelf: str,
    key: str,
    *,
    make: Callable[[], Kept],
    save: Callable[[Kept, Path], None],
    load: Callable[[Path], Kept],
    log: Log,
    most_bytes: int = _MOST_BYTES,
) -> tuple[Kept, bool]:
    """Return what `make` makes, from the cache where it was made before, and whether it was.

    Processes that want the same entry wait for the one that makes it.

    Args:
        shelf: folder of the cache, for one kind of entries.
        key: from `key_of`.
        make: makes it; its errors are passed on, and nothing is kept.
        save: writes it into an empty folder.
        load: reads it from such a folder.
        log: receives a line where it cannot be kept.
        most_bytes: of the shelf; the entry itself stays, whatever its size.
    """
    folder = cache_home() / shelf / key
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(alone(folder))
        except HydraError as error:
            log(f"{folder} cannot be used: {error}")
            return make(), False
        if recover(folder) and _is_sound(folder):
            found = load(folder)
            with contextlib.suppress(OSError):
                os.utime(folder)
            return found, True
        made = make()
        try:
            _remove(folder)
            with folder_atomically(folder, mark=None) as out:
                save(made, out)
                names = [p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()]
                write_json(out / _RECORD, sealed({"files": hashes_of(out, names)}))
        except (HydraError, OSError) as error:
            log(f"{folder} is not kept: {error}")
        else:
            _forget(folder.parent, most_bytes)
        return made, False


def _is_sound(folder: Path) -> bool:
    """Whether an entry is as it was written."""
    try:
        record = read_sealed(folder / _RECORD, "the record of an entry of the cache", "")
        require_recorded(folder, record["files"], _RECORD, "", again=True)
    except (ArtifactError, KeyError, OSError):
        return False
    return True


def _forget(shelf: Path, most_bytes: int) -> None:
    """Remove the entries that were used longest ago, unless somebody is at them."""
    with contextlib.suppress(OSError):
        entries = [path for path in shelf.iterdir() if (path / _RECORD).is_file()]
        entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        held = 0
        for number, path in enumerate(entries):
            held += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if number and (number >= _MOST or held > most_bytes):
                with contextlib.suppress(HydraError), exclusive(making_lock_of(path), str(path)):
                    _remove(path)


def _remove(folder: Path) -> None:
    """Remove an entry; under a name by which it is swept when this is cut short."""
    if folder.exists():
        gone = sibling(folder)
        folder.rename(gone)
        shutil.rmtree(gone)
