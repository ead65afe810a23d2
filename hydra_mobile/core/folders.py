"""Folders that are whole or absent, and that replace only what is of their own kind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import json_if_sound, sync_folder, tilde
from hydra_mobile.core.locks import exclusive
from hydra_mobile.core.temporary import held, is_temporary, lock_of, sibling, sweep

# Another writer of the same place is at its end within this, or is named.
_WAIT_SECONDS = 30.0
_LINUX_CWD, _RENAME_EXCHANGE = -100, 2
_DARWIN_SWAP = 2
# What systems and other programs put into any folder.
_BESIDE = (".DS_Store", "Thumbs.db", "desktop.ini", ".gitattributes", ".cache")
_OLD, _READY = ".hydra-mobile-old", ".hydra-mobile-ready"


@dataclass(frozen=True)
class Mark:
    """What a folder of one kind holds, by which it is recognized before it is replaced.

    Attributes:
        file: name of a file that every folder of this kind has, for example "manifest.json"; "":
            there is none.
        kind: what such a folder is, for the message, for example "a bundle".
        matches: whether a folder with that file is of this kind; default: it is.
        begun: whether a folder without that file is one in which work on it has begun; default: it
            is not.
        contents: names that are of such a folder, by its own record; a folder with others is not
            replaced, they are its owner's. None: the record does not say.
    """

    file: str
    kind: str
    matches: Callable[[Path], bool] = lambda folder: True
    begun: Callable[[Path], bool] = lambda folder: False
    contents: Callable[[Path], Collection[str] | None] = lambda folder: None

    def is_on(self, folder: Path) -> bool:
        """Return whether `folder` is of this kind."""
        if self.file and (folder / self.file).is_file():
            return self.matches(folder)
        return self.begun(folder)


def recorded(file: str, needs: str, *more: str) -> Callable[[Path], Collection[str] | None]:
    """Return what reads the names in a folder from its record.

    Args:
        file: the record, JSON with the paths of all files under `files`.
        needs: a file that is among them; records of earlier versions name some files only.
        more: names that the record leaves out.
    """

    def names(folder: Path) -> Collection[str] | None:
        files = json_if_sound(folder / file).get("files")
        if not isinstance(files, dict) or needs not in files:
            return None
        return {file, *more, *(str(name).split("/")[0] for name in files)}

    return names


def require_replaceable(path: Path, mark: Mark | None) -> None:
    """Raise unless `path` is free: absent, an empty folder, or one with `mark`.

    Raises:
        ArtifactError: a file or a folder of another kind is there; it is not touched.
    """
    path = tilde(path)
    if path.is_dir():
        # What a killed writer left half-way is ended before it is replaced.
        half = (path / _OLD).is_dir() or (path / _READY).is_dir()
        if half:
            return
        mine = mark is not None and mark.is_on(path)
        known = mark.contents(path) if mark is not None and mine else ()
        if known is None:
            return
        others = (name for name in os.listdir(path) if not _is_own(name))
        foreign = [n for n in others if n not in known and not (mine and n in _BESIDE)]
        if not foreign:
            return
        what = mark.kind if mark is not None and mine else "a folder"
        found = f"{what} with {len(foreign)} other files or folders, {foreign[0]!r} among them"
    elif os.path.lexists(path) and not path.is_symlink():
        found = "a file"
    else:
        return
    expected = "nothing or an empty folder"
    if mark:
        expected += f", or {mark.kind}"
        expected += f" (a folder with {mark.file})" if mark.file else ""
    raise ArtifactError(
        f"{path} exists and is not replaced: {found} is there.",
        "Choose another place for it, or move that away.",
        where=str(path),
        found=found,
        expected=expected,
    )


@contextlib.contextmanager
def folder_atomically(path: Path, *, mark: Mark | None) -> Iterator[Path]:
    """Yield an empty folder to fill; put it in the place of `path` on success.

    An older folder at `path` stays until the new one is complete and on the disk; then both change
    places in one step, where the system can. A mount point, the working directory and a folder
    whose parent cannot be written are filled where they are. Permissions follow the umask.

    Args:
        path: the folder to write; absent, empty, or of the kind that `mark` names.
        mark: by what an older folder of this kind is recognized; None: none is replaced.

    Raises:
        ArtifactError: `path` is a file or holds something else than `mark` says.
        DiskError: the disk filled up.
        HydraError: the place cannot be written, or another process is writing it.
    """
    # A link stays one: what it points to is written.
    path = Path(os.path.realpath(tilde(path)))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        home = path if _stays_in_place(path) else path.parent
        with exclusive(lock_of(path, home), str(path), wait=_WAIT_SECONDS):
            sweep(home, again=True)
            if home == path:
                _finish_in_place(path)
            require_replaceable(path, mark)
            temporary = sibling(path, folder=home)
            temporary.mkdir()
            try:
                with held(temporary), writing(path, temporary):
                    yield temporary
                    if mark is not None and not mark.is_on(temporary):
                        raise AssertionError(f"{path} was written without its {mark.file}")
                    _settle(temporary)
                    require_replaceable(path, mark)
                    if home == path:
                        _fill(path, temporary)
                    else:
                        _put(temporary, path)
                    sync_folder(home)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> bool:
    """Sweep what killed writers left beside `path`, or bring it back; return if it is there."""
    path = path.absolute()
    sweep(path.parent, again=not os.path.lexists(path))
    return os.path.lexists(path)


def _is_own(name: str) -> bool:
    return name in (_OLD, _READY) or is_temporary(name)


def _stays_in_place(path: Path) -> bool:
    if not path.is_dir():
        return False
    return (
        os.path.ismount(path) or path == Path.cwd() or not os.access(path.parent, os.W_OK | os.X_OK)
    )


def _settle(folder: Path) -> None:
    """Give all below `folder` the umask's permissions, and have it on the disk."""
    usual = stat.S_IMODE(folder.stat().st_mode)
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            file = Path(place) / name
            if file.is_symlink():
                continue
            # Programs stay executable; some libraries write files that only their owner can read.
            mode = stat.S_IMODE(file.stat().st_mode)
            wanted = (usual & 0o666) | (usual & 0o111 if mode & 0o100 else 0)
            if mode != wanted:
                file.chmod(wanted)
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if Path(place) != folder:
            Path(place).chmod(usual)
        sync_folder(Path(place))


def _put(new: Path, path: Path) -> None:
    """Rename `new` to `path`; what was there is then at `new`, or gone."""
    if path.is_dir() and os.listdir(path):
        if _exchange(new, path):
            return
        old = sibling(path, "old")
        path.rename(old)
        with held(old):
            try:
                new.rename(path)
            except BaseException:
                old.rename(path)
                raise
            shutil.rmtree(old, ignore_errors=True)
        return
    if path.is_dir() and sys.platform == "win32":
        path.rmdir()
    new.rename(path)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; return False where the system cannot."""
    try:
        libc: Any = ctypes.CDLL(None, use_errno=True)
        first, second = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            return bool(libc.renamex_np(first, second, _DARWIN_SWAP) == 0)
        done = libc.renameat2(_LINUX_CWD, first, _LINUX_CWD, second, _RENAME_EXCHANGE)
        return bool(done == 0)
    except (OSError, AttributeError, TypeError):
        return False


# -- in place ------------------------------------------------------------------------------------
#
# Two steps, each of which the next writer can tell from what is there: first the old entries go
# into one folder (killed then: they come back), then the temporary folder is renamed to `_READY`
# and its entries come up (killed then: the rest of them follow).


def _fill(path: Path, temporary: Path) -> None:
    old, ready = path / _OLD, path / _READY
    old.mkdir()
    for name in os.listdir(path):
        if not _is_own(name):
            (path / name).rename(old / name)
    # From here on the new ones follow, whatever happens.
    temporary.rename(ready)
    sync_folder(path)
    _finish_in_place(path)


def _finish_in_place(path: Path) -> None:
    """End what `_fill` began, or undo it."""
    old, ready = path / _OLD, path / _READY
    if ready.is_dir():
        for name in os.listdir(ready):
            (ready / name).rename(path / name)
        ready.rmdir()
        shutil.rmtree(old, ignore_errors=True)
    elif old.is_dir():
        for name in os.listdir(old):
            if not os.path.lexists(path / name):
                (old / name).rename(path / name)
        shutil.rmtree(old)
