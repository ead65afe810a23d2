"""Where results go when nobody says so, and what stands in the way there."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.folders import recover

# A folder that has one of these files is ours, of that kind.
MARKS = {
    "bundle": ("manifest.json",),
    "merged model": ("merge.json",),
    "base": ("processor_config.json",),
    "report": ("report.json",),
    "EmojiQA data set": ("emojiqa.json",),
}


def run_of(model: Path) -> Path | None:
    """Return the run folder that `model` is, or is the merged folder of; None for another."""
    for folder in (model, model.parent):
        if (folder / "run.json").is_file():
            return folder
    return None


def require_place(out: Path, kind: str, force: bool, holds: str = "") -> None:
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
    if out.is_dir():
        inside = sorted(each.name for each in out.iterdir())
        if not inside:
            return
        if any((out / mark).is_file() for mark in MARKS[kind]):
            if holds and not force:
                raise HydraError(
                    f"{out} holds another {kind}",
                    ["leave out --out, or --force to replace it"],
                    where=f"--out {out}",
                    found=holds,
                    expected=f"a new folder, or a {kind} made from the same inputs",
                )
            return
        some = ", ".join(inside[:3])
        found = f"{len(inside)} files and folders, among them {some}"
    else:
        found = "a file"
    raise HydraError(
        f"this folder is no {kind} of ours, so it will not be replaced",
        [f"--out {out / kind.split()[0]}", "--force does not replace folders of other programs."],
        where=f"--out {out}",
        found=found,
        expected=f"a new or empty folder, or an older {kind}",
    )
