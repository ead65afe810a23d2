"""Folders of the cache that are made once and then only read.

Processes that want the same one wait for each other; what is there is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.files import cache_home
from hydra_mobile.core.folders import folder_atomically, recover
from hydra_mobile.core.locks import exclusive
from hydra_mobile.core.temporary import making_lock_of


def made_once(name: str, make: Callable[[Path], None], shelf: str = "android") -> Path:
    """Return the folder `name` of the cache; `make` fills it when it is not there.

    Args:
        name: says what is in it, a digest or version included: another content, another name.
        make: given an empty folder; what it raises leaves nothing behind.
        shelf: the folder of the cache that it is in.

    Raises:
        HydraError: the cache cannot be written.
    """
    folder = cache_home() / shelf / name
    if recover(folder):
        return folder
    with alone(folder):
        if not folder.is_dir():
            with folder_atomically(folder, mark=None) as out:
                make(out)
    return folder


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process make `folder` while others wait, as long as it takes.

    Raises:
        HydraError: the folder around it cannot be written.
    """
    with contextlib.ExitStack() as held:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(making_lock_of(folder), str(folder), wait=None))
        yield
