"""How a drawing becomes a picture: background, size, place, turn, mirror, all from one seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hydra_mobile.examples.emojiqa.openmoji import Art

# Pale and middle tones, so that both dark and white drawings stay visible.
_BACKGROUNDS = (
    (244, 244, 240),
    (225, 232, 240),
    (240, 226, 214),
    (216, 234, 218),
    (238, 222, 236),
    (250, 240, 200),
    (200, 214, 222),
    (208, 200, 190),
    (176, 200, 210),
    (190, 206, 176),
)


@dataclass(frozen=True)
class Look:
    """How one picture shows its drawing.

    Attributes:
        background: RGB.
        size: the drawing's longer side as a part of the picture's side.
        shift: where its middle lies, as parts of the free space, -1 to 1 each.
        turn: degrees, anticlockwise.
        mirrored: left and right exchanged.
    """

    background: tuple[int, int, int]
    size: float
    shift: tuple[float, float]
    turn: float
    mirrored: bool

    @classmethod
    def draw(cls, seed: str, *, may_mirror: bool) -> Look:
        """Return the look that belongs to `seed`."""
        dice = random.Random(seed)
        red, green, blue = dice.choice(_BACKGROUNDS)
        tint = dice.randint(-8, 5)
        return cls(
            background=(red + tint, green + tint, blue + tint),
            size=dice.uniform(0.6, 0.88),
            shift=(dice.uniform(-0.8, 0.8), dice.uniform(-0.8, 0.8)),
            turn=dice.uniform(-10, 10),
            mirrored=dice.random() < 0.5 and may_mirror,
        )


def compose(drawing: Image.Image, look: Look, side: int) -> Image.Image:
    """Return an RGB picture of `side` x `side` pixels showing `drawing` as `look` says.

    Args:
        drawing: RGBA, its longer side about `side` pixels.
        look: see `Look`.
        side: pixels.
    """
    if look.mirrored:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = look.size * side / max(drawing.size)
    free = (1 - look.size) / 2
    middle = [side * (0.5 + shift * free) for shift in look.shift]
    angle = math.radians(look.turn)
    # Image.transform wants the way back: from a pixel of the picture to one of the drawing.
    a, b = math.cos(angle) / scale, -math.sin(angle) / scale
    d, e = -b, a
    c = drawing.width / 2 - a * middle[0] - b * middle[1]
    f = drawing.height / 2 - d * middle[0] - e * middle[1]
    # Premultiplied alpha keeps the edges free of the colour that transparent pixels carry.
    placed = (
        drawing.convert("RGBa")
        .transform(
            (side, side), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC
        )
        .convert("RGBA")
    )
    picture = Image.new("RGB", (side, side), look.background)
    picture.paste(placed, (0, 0), placed)
    return picture


def paint(
    art: Art, code: str, targets: list[tuple[Path, str]], side: int, *, may_mirror: bool
) -> None:
    """Draw `code` once and write it as several PNG files, each with the look of its seed."""
    drawing = art.render(code, side)
    for path, seed in targets:
        picture = compose(drawing, Look.draw(seed, may_mirror=may_mirror), side)
        picture.save(path, "PNG", compress_level=3)
