"""How pictures of all kinds are opened: what a person sees is what the model sees."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.core.errors import DataError
from hydra_mobile.models.pictures import as_rgb, inspect_picture, open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def scene(width: int = 40, height: int = 24) -> Image.Image:
    grid = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(grid)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    scene().save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    picture = open_picture(path)
    np.testing.assert_array_equal(np.asarray(picture), expected)
    # What was turned once stays as it is.
    np.testing.assert_array_equal(np.asarray(as_rgb(picture)), expected)
    if ending != "tiff":  # Pillow itself turns those as it reads them
        assert inspect_picture(path).turned == (orientation != 1)
        stored = FilePicture(path).open()
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(scene()))
        np.testing.assert_array_equal(np.asarray(as_rgb(stored)), np.asarray(scene()))


@pytest.mark.parametrize(
    ("ending", "kind"), [("png", np.uint16), ("tiff", np.uint16), ("tiff", np.int32)]
)
def test_grays_of_16_and_32_bits_are_scaled(tmp_path: Path, ending: str, kind: type) -> None:
    ramp = np.tile(np.arange(256, dtype=kind), (4, 1))
    Image.fromarray(ramp * 257).save(tmp_path / f"a.{ending}")
    opened = inspect_picture(tmp_path / f"a.{ending}")
    assert opened.scaled
    np.testing.assert_array_equal(np.asarray(opened.picture)[..., 1], ramp)


def test_grays_beyond_16_bits_and_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff.*70000"):
        open_picture(tmp_path / "a.tiff")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(DataError, match=r"f\.tiff.*floats"):
        open_picture(tmp_path / "f.tiff")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(200), "AVIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
    ],
)
def test_other_formats_are_named_with_the_way_out(
    tmp_path: Path, content: bytes, name: str
) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(DataError, match=name) as found:
        open_picture(tmp_path / "photo.png")
    assert "JPEG" in found.value.fix


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png.*FIFO"):
        open_picture(tmp_path / "a.png")


def test_pictures_of_too_many_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("1", (12_000, 11_000)).save(tmp_path / "a.png")
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(DataError, match="too large"):
        open_picture(tmp_path / "a.png")
    Image.new("1", (70_000, 1)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"too large.*70000"):
        open_picture(tmp_path / "b.png")


@pytest.mark.parametrize("size", [(4100, 9), (9, 4100), (3001, 1700), (1, 2), (90, 91)])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_padding_in_bands_gives_the_pixels_of_the_whole_square(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], resample: str
) -> None:
    monkeypatch.setattr("hydra_mobile.models.preprocessing._BAND", 100_000)
    recipe = ImagePreprocessing(56, MEAN, STD, resample=resample)  # type: ignore[arg-type]
    picture, side = scene(*size), max(size)
    square = Image.new("RGB", (side, side), tuple(int(255 * channel) for channel in MEAN))
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    np.testing.assert_array_equal(recipe(picture), recipe(square))


def test_damaged_metadata_leave_a_picture_as_it_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    scene().save(buffer, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert open_picture(tmp_path / "a.jpg").size == (40, 24)
