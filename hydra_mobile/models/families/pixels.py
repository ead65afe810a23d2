"""Our image preprocessing from a checkpoint's own image processor, compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.tiles import Tiles

#: Files that hold an image processor's settings, and the key inside; the first that exists counts.
_FILES = (("processor_config.json", "image_processor"), ("preprocessor_config.json", ""))
#: What PIL's filters are called here, by their number.
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
#: Rounding of one float32 step on values of this size; a wrong filter or mean is far above.
_TOLERANCE = 2e-6
#: From pixels float32 [3, H, W] to the form that a processor gives them.
Arrange = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_SIZES = ((97, 61), (40, 130), (64, 64))


def read_settings(file: Path) -> dict[str, Any]:
    """Return a JSON object of a checkpoint.

    Raises:
        ArtifactError: it is missing, or no object.
    """
    return read_foreign_json(file, "a file of a vision-language checkpoint")


def stretched(
    folder: Path,
    side: int,
    processor: str,
    fixed: dict[str, Any],
    arranged: Arrange | None = None,
    tiles: Tiles | None = None,
) -> ImagePreprocessing:
    """Return the preprocessing that stretches a picture to a square, or to a grid of them.

    Args:
        folder: of the checkpoint.
        side: of the square.
        processor: name of transformers' image processor, in its PIL form.
        fixed: its settings that make one square of a picture.
        arranged: how its result is laid out, from our pixels [3, H, W]; such a processor keeps the
            shape of a picture, and is compared on squares alone. None: as ours.
        tiles: of the grid; compared on pictures of its shape, for which the processor chooses it.

    Raises:
        ArtifactError: there are no settings, or its pixels are others than ours.
    """
    import transformers

    file, settings = _settings(folder)
    if arranged is not None:
        settings = {k: v for k, v in settings.items() if k not in ("min_pixels", "max_pixels")}
    theirs = getattr(transformers, processor)(**{**_without_class(settings), **fixed})
    image = _expressed(file, side, theirs)
    sizes = ((2 * side, 2 * side), (side, side)) if arranged else _SIZES
    if tiles:
        image = replace(image, fit="tiles", tiles=tiles)
        width, height = tiles.columns * side, tiles.rows * side
        sizes = ((width, height), (2 * width, 2 * height), (width // 2, height // 2))
    _require_same_pixels(image, theirs, file, sizes, arranged or _as_ours)
    return image


def cropped(folder: Path, processor: str) -> ImagePreprocessing:
    """Return the preprocessing that takes the middle square of a picture, as the checkpoint does.

    Args:
        folder: of the checkpoint.
        processor: name of transformers' image processor, in its PIL form.

    Raises:
        ArtifactError: there are no settings, or its pixels are others than ours.
    """
    import transformers

    file, settings = _settings(folder)
    theirs = getattr(transformers, processor)(**_without_class(settings))
    image = replace(_expressed(file, int(theirs.crop_size["height"]), theirs), fit="crop")
    _require_same_pixels(image, theirs, file, _SIZES, _as_ours)
    return image


def _expressed(file: Path, side: int, theirs: Any) -> ImagePreprocessing:
    """Return the stretching to a square with the filter, mean and deviation of a processor."""
    resample = _FILTERS.get(int(theirs.resample))
    if resample is None or not (theirs.do_rescale and theirs.do_normalize):
        raise ArtifactError(
            f"{file}: resample {theirs.resample}, do_rescale {theirs.do_rescale} and do_normalize "
            f"{theirs.do_normalize} cannot be expressed.",
            f"Expected both true, and resample one of {_FILTERS}.",
        )
    return _stated(file, side, resample, theirs.image_mean, theirs.image_std)


def stated(folder: Path, side: int) -> ImagePreprocessing:
    """Return the stretching that a checkpoint's settings name, without a comparison.

    For a class whose image processor needs torchvision.

    Raises:
        ArtifactError: there are no settings, or they cannot be expressed.
    """
    file, settings = _settings(folder)
    resample = _FILTERS.get(int(settings.get("resample", 2)))
    if resample is None:
        raise ArtifactError(
            f"{file}: resample {settings['resample']} cannot be expressed.",
            f"Expected one of {_FILTERS}.",
        )
    mean, std = settings.get("image_mean", [0.5] * 3), settings.get("image_std", [0.5] * 3)
    return _stated(file, side, resample, mean, std)


def _stated(file: Path, side: int, resample: str, mean: Any, std: Any) -> ImagePreprocessing:
    return ImagePreprocessing.from_dict(
        {
            "size": side,
            "mean": list(mean),
            "std": list(std),
            "fit": "stretch",
            "resample": resample,
        },
        str(file),
    )


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    for name, key in _FILES:
        if (folder / name).is_file():
            stored = read_settings(folder / name)
            values = stored.get(key) if key else stored
            if isinstance(values, dict):
                return folder / name, values
    raise ArtifactError(
        f"{folder} has no settings of an image processor: expected "
        f"{' or '.join(name for name, _ in _FILES)}.",
        "Fetch the checkpoint again, with all of its JSON files.",
    )


def _without_class(settings: dict[str, Any]) -> dict[str, Any]:
    names = ("image_processor_type", "processor_class", "feature_extractor_type")
    return {name: value for name, value in settings.items() if name not in names}


def _as_ours(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels


def _require_same_pixels(
    image: ImagePreprocessing,
    theirs: Any,
    file: Path,
    sizes: tuple[tuple[int, int], ...],
    arranged: Arrange,
) -> None:
    """Raise unless both give the same pixels for noise of a few shapes."""
    generator = np.random.default_rng(0)
    for width, height in sizes:
        picture = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        ours = arranged(image(picture))
        found = np.asarray(theirs(picture, return_tensors="np")["pixel_values"], np.float32)
        same = found.size == ours.size and found.shape[-ours.ndim :] == ours.shape
        gap = float(np.abs(found.reshape(ours.shape) - ours).max()) if same else float("inf")
        if gap > _TOLERANCE * max(1.0, float(np.abs(ours).max())):
            raise ArtifactError(
                f"{file}: {type(theirs).__name__} gives other pixels of a picture of "
                f"{width} x {height} than our preprocessing: shapes {found.shape} and "
                f"{ours.shape}, difference {gap:.1e}.",
                "Its settings ask for something that our preprocessing cannot express.",
            )
