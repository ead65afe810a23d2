"""Folders of the cache that are made once and then only read.

Two processes that want the same one wait for each other; what is there is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from hydra_mobile.core.files import cache_home
from hydra_mobile.core.folders import folder_atomically


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` of the Android cache; `make` fills it when it is not there.

    Args:
        name: says what is in it, a digest or version included: another content, another name.
        make: given an empty folder; what it raises leaves nothing behind.
    """
    folder = cache_home() / "android" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            with folder_atomically(folder, mark=None) as out:
                make(out)
    return folder
