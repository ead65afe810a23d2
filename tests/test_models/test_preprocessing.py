"""Pictures to pixels against the published arithmetic, written here from its description."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.pictures import as_rgb
from hydra_mobile.models.preprocessing import ImagePreprocessing

# CLIP's own, which LLaVA and MobileVLM use.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PAD_COLOR = (122, 116, 104)
# One gray level, in the units of each channel.
LEVEL = (1 / 255 / np.array(STD))[:, None, None]
# width, height: wide, tall, square, enlarged, tiny, one pixel wide, odd remainders.
SIZES = [
    *((64, 48), (48, 64), (56, 56), (57, 56), (200, 133), (97, 301), (640, 113), (20, 30)),
    *((3, 2), (1, 1), (1, 9), (40, 1), (55, 1000), (1001, 999), (2, 301)),
]
MODES = ["RGB", "L", "RGBA", "P", "LA", "1", "CMYK"]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth colors with noise on them: what shows a wrong filter, phase or order of channels."""
    draw = np.random.default_rng(width * 1000 + height)
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    smooth = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y)], -1) * 80 + 128
    pixels = np.clip(smooth + draw.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(draw.integers(0, 256, (height, width), dtype=np.uint8)))
    return picture.convert(mode)


def bicubic(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize axis 0 of uint8 [n, ...] with a cubic kernel (a = -0.5), widened where it shrinks."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    count = len(pixels)
    scale = count / size
    wide = max(scale, 1.0)
    out = np.empty((size, *pixels.shape[1:]), np.uint8)
    for index in range(size):
        center = (index + 0.5) * scale
        first = max(0, int(center - 2 * wide + 0.5))
        last = min(count, int(center + 2 * wide + 0.5))
        weights = np.array([kernel((at + 0.5 - center) / wide) for at in range(first, last)])
        mixed = np.tensordot(weights / weights.sum(), pixels[first:last].astype(float), axes=1)
        out[index] = np.clip(np.floor(mixed + 0.5), 0, 255)
    return out


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return uint8 [height, width, 3]; columns first, rounded to integers between."""
    columns = pixels.transpose(1, 0, 2)
    columns = columns if pixels.shape[1] == width else bicubic(columns, width)
    rows = columns.transpose(1, 0, 2)
    return rows if pixels.shape[0] == height else bicubic(rows, height)


def normalized(pixels: np.ndarray) -> np.ndarray:
    return ((pixels / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)


def published_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    longer = int(size * long / short)
    new_width, new_height = (size, longer) if width <= height else (longer, size)
    pixels = resized(pixels, new_width, new_height)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return normalized(pixels[top : top + size, left : left + size])


def published_pad(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = PAD_COLOR
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return normalized(resized(square, size, size))


def clip_recipe(fit, size=56):
    return ImagePreprocessing(size, MEAN, STD, fit=fit)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_pixels_are_within_a_level_of_the_published_arithmetic(fit, width, height):
    picture = noise(width, height)
    expected = {"pad": published_pad, "crop": published_crop}[fit](np.asarray(picture), 56)
    found = clip_recipe(fit)(picture)
    assert found.shape == (3, 56, 56)
    assert found.dtype == np.float32
    assert np.all(np.abs(found - expected) <= LEVEL * 1.001)


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_at_full_size(fit):
    picture = noise(500, 375)
    expected = {"pad": published_pad, "crop": published_crop}[fit](np.asarray(picture), 336)
    difference = np.abs(clip_recipe(fit, 336)(picture) - expected)
    assert np.all(difference <= LEVEL * 1.001)
    # Nearly all pixels are the same: a filter or phase of its own would not give that.
    assert np.mean(difference > 1e-5) < 0.01


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_other_modes_are_shown_as_rgb(fit, mode):
    # As published protocols read pictures: people's own are shown on white instead.
    picture = as_rgb(noise(71, 40, mode), turn=False)
    rgb = np.asarray(noise(71, 40, mode).convert("RGB"))
    expected = {"pad": published_pad, "crop": published_crop}[fit](rgb, 56)
    assert np.all(np.abs(clip_recipe(fit)(picture) - expected) <= LEVEL * 1.001)


@pytest.fixture(scope="module")
def transformers_own():
    """CLIPImageProcessor of transformers, its form without torchvision."""
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")

    def process(picture: Image.Image, size: int) -> np.ndarray:
        processor = module.CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        )
        return processor(picture, return_tensors="np")["pixel_values"][0]

    return process


@pytest.mark.parametrize(("width", "height"), [*SIZES, (500, 375), (333, 500)])
def test_crop_is_that_of_transformers(transformers_own, width, height):
    for size in (56, 336):
        picture = noise(width, height)
        expected = transformers_own(picture, size)
        np.testing.assert_allclose(clip_recipe("crop", size)(picture), expected, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_crop_of_other_modes_is_that_of_transformers(transformers_own, mode):
    # LLaVA drops transparency before it asks CLIP's processor, which by itself would show it white.
    picture = as_rgb(noise(71, 40, mode), turn=False)
    expected = transformers_own(noise(71, 40, mode).convert("RGB"), 56)
    np.testing.assert_allclose(clip_recipe("crop")(picture), expected, atol=2e-6)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_padding_then_transformers_is_llava_s_pad(transformers_own, width, height):
    picture = noise(width, height)
    side = max(width, height)
    square = Image.new("RGB", (side, side), PAD_COLOR)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    expected = transformers_own(square, 336)
    np.testing.assert_allclose(clip_recipe("pad", 336)(picture), expected, atol=2e-6)


def test_padding_uses_the_truncated_mean_color():
    recipe = ImagePreprocessing(10, (0.5, 0.25, 0.9), (1.0, 1.0, 1.0), fit="pad")
    pixels = recipe(Image.new("RGB", (10, 4), (255, 255, 255)))
    assert pixels.shape == (3, 10, 10)
    expected = np.array([127 / 255 - 0.5, 63 / 255 - 0.25, 229 / 255 - 0.9], np.float32)
    np.testing.assert_allclose(pixels[:, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(pixels[:, 5, 5], 1 - np.float32([0.5, 0.25, 0.9]), atol=1e-6)


def test_clip_s_pad_color_is_that_of_llava():
    # int(255 * mean) of CLIP: the gray-brown that LLaVA and MobileVLM pad with.
    recipe = ImagePreprocessing(8, MEAN, (1.0, 1.0, 1.0), fit="pad")
    pixels = recipe(Image.new("RGB", (8, 2), (255, 255, 255)))
    color = (pixels[:, 0, 0] + np.float32(MEAN)) * 255
    np.testing.assert_allclose(color, PAD_COLOR, atol=1e-3)


def test_stretch_does_not_pad():
    recipe = ImagePreprocessing(8, (0.0,) * 3, (1.0,) * 3, fit="stretch")
    assert recipe(Image.new("RGB", (10, 4), (255, 0, 0)))[0].min() == 1.0


@pytest.mark.parametrize("lying", [True, False])
def test_cropping_a_long_strip_enlarges_its_middle_only(lying, monkeypatch):
    resize = Image.Image.resize

    def bounded(picture, size, *rest):
        assert size[0] * size[1] < 30e6, f"{size} is gigabytes"
        return resize(picture, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", bounded)
    strip = np.zeros((1, 60_001, 3), np.uint8)
    strip[0, 30_000] = 255
    picture = Image.fromarray(strip if lying else strip.transpose(1, 0, 2))
    pixels = ImagePreprocessing(336, (0.0,) * 3, (1.0,) * 3, fit="crop")(picture)
    profile = pixels[0].mean(axis=0 if lying else 1)
    # The middle pixel fills the square: brightest at its own middle, fading the same on both sides.
    assert profile[168] > 0.99
    assert profile[0] < 0.6
    np.testing.assert_allclose(profile, profile[::-1], atol=1 / 255)


def test_the_recipe_is_data():
    for fit in ("pad", "crop", "stretch"):
        recipe = clip_recipe(fit)
        stored = json.loads(json.dumps(recipe.to_dict()))
        assert ImagePreprocessing.from_dict(stored, "x") == recipe


def test_an_unknown_fit_is_refused_with_the_known_ones():
    stored = {**clip_recipe("pad").to_dict(), "fit": "centre"}
    with pytest.raises(ArtifactError, match=r"`fit`.*'centre'.*'pad'"):
        ImagePreprocessing.from_dict(stored, "x")


@pytest.mark.parametrize("key", ["size", "mean", "std", "fit", "resample"])
def test_an_incomplete_recipe_names_its_key(key):
    stored = clip_recipe("pad").to_dict()
    del stored[key]
    with pytest.raises(ArtifactError, match=rf"x.*`{key}`"):
        ImagePreprocessing.from_dict(stored, "x")
