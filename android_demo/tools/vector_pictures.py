"""Pictures of awkward sizes, and the pixels that Python makes of them under every recipe."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hydra_mobile.core.files import write_json
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing

#: Width and height: a pixel, strips, high and wide ones, the recipe's own size, photographs.
_SIZES = (
    (1, 1),
    (1, 300),
    (700, 2),
    (3, 2),
    (32, 32),
    (31, 33),
    (33, 100),
    (100, 37),
    (64, 640),
    (641, 480),
    (480, 641),
    (1023, 767),
    (5, 1200),
    (90, 90),
    # Shrunk in height first, or just not: that depends on both sides.
    (64, 112),
    (64, 96),
    (64, 97),
    (76, 106),
)
_MODES = ("RGB", "RGBA", "P")
_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_RECIPES = tuple(
    ImagePreprocessing(size=size, fit=fit, resample=resample, **statistics)
    for size, statistics in ((32, _HALF), (56, _CLIP))
    for fit in ("pad", "crop", "stretch")
    for resample in ("bicubic", "bilinear")
)


def write_pictures(folder: Path) -> int:
    """Write PNGs, float32 pixels and `pictures.json`, which says how they belong together.

    Returns:
        How many pairs of a picture and a recipe there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    for index, (width, height) in enumerate(_SIZES):
        path = folder / f"{index}.png"
        _picture(width, height, _MODES[index % len(_MODES)], chance).save(path)
        for recipe in _RECIPES:
            pixels = folder / f"{len(entries)}.f32"
            pixels.write_bytes(recipe(open_picture(path)).astype("<f4").tobytes())
            entries.append({"png": path.name, "pixels": pixels.name, "recipe": recipe.to_dict()})
    random.Random(0).shuffle(entries)
    write_json(folder / "pictures.json", entries)
    return len(entries)


def _picture(width: int, height: int, mode: str, chance: np.random.Generator) -> Image.Image:
    """Return noise over a slope: sharp edges make overshoot, slopes make rounding."""
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 4))
    noise = chance.integers(0, 256, (height, width, 4))
    mixed = np.where(chance.random((height, width, 1)) < 0.5, slope, noise).astype(np.uint8)
    if mode == "RGBA":
        mixed[..., 3] = np.where(noise[..., 3] % 3 == 0, 255, noise[..., 3])
        return Image.fromarray(mixed)
    picture = Image.fromarray(np.ascontiguousarray(mixed[..., :3]))
    return picture.quantize(64) if mode == "P" else picture
