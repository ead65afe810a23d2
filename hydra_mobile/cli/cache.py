"""`hydra-mobile cache ...`: shows or clears what hydra-mobile keeps on disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import in_process
from hydra_mobile.cli.ui.faults import unknown
from hydra_mobile.cli.ui.formats import megabytes
from hydra_mobile.core.errors import HydraError

app = ui.new_app("Show or clear what hydra-mobile keeps on disk.", default="list")


@dataclass(frozen=True)
class Entry:
    """One thing in the cache: its name, place, size, and when it was last changed."""

    name: str
    path: Path
    size_bytes: int
    changed: float


def entries() -> list[Entry]:
    """Return what is in the cache, the largest first."""
    from hydra_mobile.core.files import cache_home

    home = cache_home()
    found = []
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        inside = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        for path in inside:
            files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
            size = sum(file.stat().st_size for file in files)
            name = str(path.relative_to(home))
            found.append(Entry(name, path, size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.size_bytes)


def list_() -> ui.Result:
    """List what is in the cache, the largest first."""
    from hydra_mobile.core.files import cache_home

    found = entries()
    ui.line(f"{cache_home()}   (HYDRA_MOBILE_HOME names another place)")
    rows = [
        (e.name, megabytes(e.size_bytes), time.strftime("%b %d", time.localtime(e.changed)))
        for e in found
    ]
    if rows:
        columns = [ui.Column("name"), ui.Column("size", right=True), ui.Column("changed", drop=1)]
        total = sum(entry.size_bytes for entry in found)
        ui.table(columns, rows, [f"{megabytes(total)} in all"])
    else:
        ui.line("  It is empty.")
    return ui.Result(
        {"home": cache_home(), "entries": [asdict(entry) for entry in found]},
        next=["hydra-mobile cache clear NAME"] if found else [],
    )


def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Entries of `cache list`, or folders of them"),
    ] = None,
    older_than: Annotated[
        int,
        typer.Option(
            metavar="DAYS", min=0, max=100_000, help="Only what was not changed for so long"
        ),
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> ui.Result:
    """Delete entries of the cache, or all of it.

    They are fetched or made again when they are needed. Asks first, unless --yes is given.
    """
    found = entries()
    known = {e.name for e in found} | {e.name.split("/")[0] for e in found}
    for name in names or []:
        if name.rstrip("/") not in known:
            raise unknown("name in the cache", name, sorted(known), "NAME", "hydra-mobile cache")
    wanted = {name.rstrip("/") for name in names or []}
    before = time.time() - older_than * 86400
    chosen = [
        e
        for e in found
        if (not wanted or e.name in wanted or e.name.split("/")[0] in wanted)
        and (not older_than or e.changed < before)
    ]
    size = sum(entry.size_bytes for entry in chosen)
    for entry in chosen[:10]:
        ui.say(f"{entry.path}   {megabytes(entry.size_bytes)}")
    if len(chosen) > 10:
        ui.say(f"and {len(chosen) - 10} more")
    if chosen and not yes and not _agreed(len(chosen), size):
        ui.line("Nothing was deleted.")
        return ui.Result({"deleted": [], "freed_bytes": 0})
    for entry in chosen:
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink()
    ui.line(f"{megabytes(size)} are free again: {len(chosen)} deleted.")
    return ui.Result({"deleted": [entry.path for entry in chosen], "freed_bytes": size})


def _agreed(number: int, size: int) -> bool:
    if not in_process() or ui.screen().settings.json:
        raise HydraError(
            "deleting needs a yes, and there is nobody to ask",
            "--yes",
            where="standard input",
            found="no terminal",
        )
    return typer.confirm(f"Delete {number} entries, {megabytes(size)}?", err=True)


ui.add(app, list_, "list", schema="cache-list")
ui.add(
    app,
    clear,
    schema="cache-clear",
    examples=["hydra-mobile cache clear logs", "hydra-mobile cache clear --older-than 30"],
)
