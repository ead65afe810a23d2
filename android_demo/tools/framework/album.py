"""Pictures of the app's screens: drawn by the suite, then reduced to few colors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from android_demo.tools.framework import suite
from hydra_mobile.core.temporary import working_folder

_CLASS = "Album"
_COLORS = 96


def draw(out: Path, say: Callable[[str], None], scenes: str | None = None) -> list[Path]:
    """Write the pictures as `<condition>/<screen>-<state>.png`; return their paths.

    Args:
        out: their folder.
        say: told what is done.
        scenes: names of scenes by commas; None: all.

    Raises:
        HydraError, ArtifactError: as `suite.run`.
    """
    with working_folder("pictures") as temporary:
        say("starting the app in every state")
        properties = {"hydra.pictures": str(temporary)}
        if scenes:
            properties["hydra.scenes"] = scenes
        suite.run([_CLASS], properties=properties)
        say("reducing the pictures")
        return [
            _reduced(file, out / file.relative_to(temporary))
            for file in sorted(Path(temporary).rglob("*.png"))
        ]


def _reduced(file: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
        few.save(to, optimize=True)
    return to
