"""Where results go when nobody says so, and what stands in the way there.

Every option that names a place for a result has a `FolderPlace` or `FilePlace` as its parser: what
cannot be written, or holds something else, is refused before anything else is read.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import typer

from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import tilde
from hydra_mobile.core.folders import recover, require_replaceable
from hydra_mobile.core.marks import MARKS
from hydra_mobile.core.own_files import FileKind, require_replaceable_file

# Of a file system's names, in bytes.
_LONGEST_NAME = 255


def run_of(model: Path) -> Path | None:
    """Return the run folder that `model` is, or is the merged folder of; None for another."""
    for folder in (model, model.parent):
        if (folder / "run.json").is_file():
            return folder
    return None


class FolderPlace:
    """A parser of paths of a folder to write; `kind`, a key of `MARKS`, is what may be there."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # Typer shows the parser's name where nothing else is known.
        self.__name__ = "DIR"

    def __call__(self, value: object) -> Path:
        """Return the path.

        Raises:
            typer.BadParameter: it is none, or nothing can be written there.
            HydraError: something else is there.
        """
        path = _writable(str(value))
        if path.exists() and not path.is_dir():
            raise typer.BadParameter(f"{path} is a file, expected a folder")
        require_place(path, self.kind)
        return path


class FilePlace:
    """A parser of paths of a file to write; `kind` is what may be there."""

    def __init__(self, kind: FileKind) -> None:
        self.kind = kind
        self.__name__ = "FILE"

    def __call__(self, value: object) -> Path:
        """Return the path; raises as `FolderPlace`."""
        text = str(value)
        path = _writable(text)
        if text.endswith(("/", os.sep)) or path.is_dir():
            raise typer.BadParameter(f"{text} is a folder, expected the name of a file")
        require_replaceable_file(path, self.kind)
        return path


def _writable(text: str) -> Path:
    """Return a path that something can be written to.

    Raises:
        typer.BadParameter: it is none, or leads through a file or a broken link, or into a folder
            that cannot be written.
    """
    if not text.strip():
        raise typer.BadParameter("the path is empty")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise typer.BadParameter(f"{shown(text)} holds characters that cannot be shown")
    path = tilde(Path(text))
    for part in path.parts:
        if len(os.fsencode(part)) > _LONGEST_NAME:
            raise typer.BadParameter(
                f"{shown(part)} has {len(part)} letters, names have at most {_LONGEST_NAME} bytes"
            )
    there = path.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if there.is_symlink() and not there.exists():
        raise typer.BadParameter(f"{there} is a link to nothing")
    if there != path.absolute() and not there.is_dir():
        raise typer.BadParameter(f"{there} is a file, expected a folder")
    # What is there already may be written to although its parent may not: a mounted folder.
    folders = (there, there.parent) if there == path.absolute() else (there,)
    if not any(_may_write(each) for each in folders):
        raise typer.BadParameter(f"{there} cannot be written to")
    return path


def _may_write(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def require_place(out: Path, kind: str, force: bool = True, holds: str = "") -> None:
    """Refuse a place that holds something else.

    Args:
        out: where the result will go.
        kind: key of `MARKS`.
        force: whether an older result of that kind may be replaced.
        holds: what is there, where it is known; it is then refused without `force`.

    Raises:
        HydraError: `out` is a file, a folder of another program, or, without `force`, holds
            another result.
    """
    # What a killed command left beside it goes, or comes back.
    if not recover(out):
        return
    require_replaceable(out, MARKS[kind])
    if holds and not force:
        raise HydraError(
            f"{out} holds another {kind}",
            ["leave out --out, or --force to replace it"],
            where=f"--out {out}",
            found=holds,
            expected=f"a new folder, or a {kind} made from the same inputs",
        )
