"""Pictures of awkward sizes, and the pixels that Python makes of them under every recipe.

And picture files that are read wrongly where orientation, 16 bits or transparency are forgotten,
with the colors that `hydra_mobile/models/pictures.py` reads in them.
"""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hydra_mobile.core.files import write_json
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.tiles import Tiles

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
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RECIPES = (
    *(
        ImagePreprocessing(size=size, mean=mean, std=std, fit=fit, resample=resample)
        for size, (mean, std) in ((32, _HALF), (56, _CLIP))
        for fit in ("pad", "crop", "stretch")
        for resample in ("bicubic", "bilinear", "lanczos")
    ),
    # As SmolVLM and as InternVL read tiles.
    ImagePreprocessing(32, *_HALF, "tiles", "lanczos", Tiles(2, 3, "grid", ("",) * 7)),
    ImagePreprocessing(24, *_CLIP, "tiles", "bicubic", Tiles(2, 2, "image", ("",) * 5)),
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
    _write_read(folder, chance)
    return len(entries)


def _write_read(folder: Path, chance: np.random.Generator) -> None:
    """Write picture files, RGB bytes of each by either rule, and `read.json`."""
    entries: list[dict[str, Any]] = []
    for name in _files(folder, chance):
        for turn in (True, False):
            rgb = np.asarray(open_picture(folder / name, turn=turn))
            expected = folder / f"{name}.{'turned' if turn else 'stored'}"
            expected.write_bytes(rgb.tobytes())
            height, width = rgb.shape[:2]
            entry = {"file": name, "turn": turn, "width": width, "height": height}
            # Decoders of JPEG may differ by some levels.
            within = 0 if name.endswith(".png") else 6
            entries.append({**entry, "rgb": expected.name, "within": within})
    write_json(folder / "read.json", entries)


def _files(folder: Path, chance: np.random.Generator) -> list[str]:
    names = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        color = chance.integers(0, 256, (5, 7, 4), dtype=np.uint8)
        deep = chance.integers(0, 65_536, (6, 9), dtype=np.uint16)
        # One color a block of 16 pixels: what a JPEG decoder makes of it is no matter of edges.
        blocks = np.kron(color[:2, :3, :3] // 32 * 32, np.ones((16, 16, 1), np.uint8))
        Image.fromarray(color).save(folder / f"color{orientation}.png", exif=exif)
        Image.fromarray(deep).save(folder / f"deep{orientation}.png", exif=exif)
        Image.fromarray(blocks).save(
            folder / f"photo{orientation}.jpg", exif=exif, quality=98, subsampling=0
        )
        names += [f"color{orientation}.png", f"deep{orientation}.png", f"photo{orientation}.jpg"]
    for width, height, interlaced in ((1, 1, True), (13, 11, True), (13, 11, False), (3, 9, True)):
        name = f"gray{len(names)}.png"
        grays = chance.integers(0, 65_536, (height, width), dtype=np.uint16)
        (folder / name).write_bytes(_gray_png(grays, interlaced, chance))
        read = np.asarray(Image.open(folder / name)).astype(np.uint16)
        assert np.array_equal(read, grays), name
        names.append(name)
    return names


def _gray_png(grays: np.ndarray, interlaced: bool, chance: np.random.Generator) -> bytes:
    """Return a PNG of 16-bit grays with every kind of filter, its data in several chunks."""
    height, width = grays.shape
    adam7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
    adam7 += [(1, 0, 2, 2), (0, 1, 1, 2)]
    content = b""
    for left, top, right, down in adam7 if interlaced else [(0, 0, 1, 1)]:
        part = grays[top::down, left::right].astype(">u2")
        if part.size:
            content += _filtered(part, chance)
    data = zlib.compress(content)
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, int(interlaced))
    halves = [data[: len(data) // 2], data[len(data) // 2 :]]
    chunks = [(b"IHDR", header), (b"tEXt", b"Comment\0made"), *((b"IDAT", h) for h in halves)]
    written = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*chunks, (b"IEND", b"")]:
        written += struct.pack(">I", len(body)) + kind + body
        written += struct.pack(">I", zlib.crc32(kind + body))
    return written


def _filtered(part: np.ndarray, chance: np.random.Generator) -> bytes:
    """Return rows, each behind the number of a filter drawn for it (PNG, section 9)."""
    above = bytes(2 * part.shape[1])
    content = b""
    for row in part:
        raw, kind = row.tobytes(), int(chance.integers(5))
        content += bytes([kind])
        for at, byte in enumerate(raw):
            left, corner = (raw[at - 2], above[at - 2]) if at >= 2 else (0, 0)
            up = above[at]
            nearest = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
            content += bytes([byte - (0, left, up, (left + up) // 2, nearest)[kind] & 0xFF])
        above = raw
    return content


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
