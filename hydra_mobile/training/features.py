"""The frozen tower's features on disk: computed once per picture, read by every epoch and run.

Features are kept in chunks of a fixed size, each named by the hash of what it was made from (tower
weights, preprocessing, picture bytes), so that a stale chunk cannot be read and a resumed run
computes the same numbers as an uninterrupted one. The hash of its own bytes lies beside each: a
damaged chunk is computed anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import cache_home, require_free_space, sha256_of, write_atomically
from hydra_mobile.core.integrity import remembered_sha256
from hydra_mobile.data.prefetch import PictureReader
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.vision_language import VisionLanguageModel

_CHUNK = 32
#: Pictures that the tower sees at once on a CPU: their activations stay in its cache. Base `smol`
#: then needs half the time (experiments/quickstart/parts.py).
_CPU_PICTURES = 4

Progress = Callable[[int, int], None]


class VisionFeatures:
    """Features of pictures by path: from disk with a cache, else computed when asked for.

    Args:
        model: its vision tower computes, on the device where it is.
        image: how a picture becomes pixels.
        use_cache: keep features on disk; `prepare` must have seen every picture then.
        workers: threads that read pictures; 0 reads them one by one when asked for.
        record_of: gives the id of a record with a picture, for messages.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image: ImagePreprocessing,
        use_cache: bool = True,
        workers: int = 0,
        record_of: Callable[[Path], str] = lambda image: "",
    ) -> None:
        self._model = model
        self._use_cache = use_cache
        #: Features of a picture, whose tiles stand one after another.
        self._patches = model.num_patches * image.squares
        self._reader = PictureReader(image, workers, record_of)
        self._record_of = record_of
        self._places: dict[Path, tuple[np.ndarray[Any, Any], int]] = {}
        self._tower = _tower_digest(model, image) if use_cache else ""

    def prepare(self, images: Sequence[Path], progress: Progress) -> None:
        """Compute and store what is missing.

        Raises:
            DataError: a picture is missing or corrupt.
            HydraError: the disk is too full; the message names `runtime.vision_cache=false`.
        """
        if not self._use_cache:
            return
        per_image = self._patches * self._model.feature_size * 2
        folder = cache_home() / "features"
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        files = [folder / f"{self._key(chunk)}.npy" for chunk in chunks]
        sound = [_sound(file) for file in files]
        missing = sum(len(c) for c, kept in zip(chunks, sound, strict=True) if not kept)
        require_free_space(
            folder,
            missing * per_image,
            "cached vision features (runtime.vision_cache=false does without)",
        )
        done = 0
        for chunk, file, kept in zip(chunks, files, sound, strict=True):
            # Two chunks may be of the same pictures.
            if not kept and not _sound(file):
                features = self._compute(chunk).to(torch.float16).cpu().numpy()
                _require_finite(features, chunk)
                with write_atomically(file) as temporary, temporary.open("wb") as handle:
                    np.save(handle, features)
                with write_atomically(_digest_of(file)) as temporary:
                    temporary.write_text(sha256_of(file))
            with reading(file, "cached vision features", "Remove it: it will be computed again."):
                stored = np.load(file, mmap_mode="r")
            self._places.update({image: (stored, i) for i, image in enumerate(chunk)})
            done += len(chunk)
            progress(done, len(images))

    @property
    def reads_ahead(self) -> bool:
        """Whether `prefetch` does anything."""
        return not self._use_cache and self._reader.workers > 0

    def prefetch(self, images: Sequence[Path]) -> None:
        """Start to read the pictures of a coming batch; does nothing with a cache or no workers.

        Changes no result: a picture that was not announced is read when it is asked for.
        """
        if not self._use_cache:
            self._reader.announce(images)

    def batch(self, images: Sequence[Sequence[Path]]) -> Tensor:
        """Return the features of several rows' pictures.

        From a cache float32 on the CPU; else as the tower gives them, where it is: it runs once,
        on all pictures of the batch together.

        Args:
            images: of each row, in order; a row may have none.

        Returns:
            [B, M * P, C] for M pictures, one at least, in the row that has the most; zeros where a
            row has fewer.

        Raises:
            DataError: a picture is missing or corrupt; names it and its record.
        """
        wanted_pictures = [image for row in images for image in row]
        pictures = list(dict.fromkeys(wanted_pictures))
        if self._use_cache or not pictures:
            return self._stored(images)
        features = self._compute(pictures)
        most = max(map(len, images))
        if len(wanted_pictures) < len(images) * most:
            # One picture of zeros behind the others, where a row has fewer.
            features = torch.cat([features, torch.zeros_like(features[:1])])
        places = {picture: place for place, picture in enumerate(pictures)}
        wanted = [
            [places[image] for image in row] + [len(pictures)] * (most - len(row)) for row in images
        ]
        chosen = features[torch.tensor(wanted, device=features.device)]
        return chosen.reshape(len(images), -1, features.shape[-1])

    def _stored(self, images: Sequence[Sequence[Path]]) -> Tensor:
        most = max(1, *map(len, images))
        result = torch.zeros(len(images), most, self._patches, self._model.feature_size)
        for row, own in enumerate(images):
            for place, image in enumerate(own):
                stored, index = self._places[image]
                result[row, place] = torch.from_numpy(np.asarray(stored[index], dtype=np.float32))
        return result.flatten(1, 2)

    def _key(self, images: Sequence[Path]) -> str:
        digest = hashlib.sha256(self._tower.encode())
        for image in images:
            digest.update(hashlib.sha256(self._bytes_of(image)).digest())
        return digest.hexdigest()

    def _bytes_of(self, image: Path) -> bytes:
        try:
            return image.read_bytes()
        except OSError:
            open_picture(image, self._record_of(image))  # says what is wrong with it
            raise

    @torch.no_grad()
    def _compute(self, images: Sequence[Path]) -> Tensor:
        """Return features [n, P, C] of pictures, on the tower's device."""
        pixels = torch.from_numpy(self._reader.pixels(images))
        weight = next(self._model.vision_tower.parameters())
        device = weight.device
        if device.type == "cuda":
            # The copy to the device then overlaps with what the device still has to do.
            pixels = pixels.pin_memory()
        if device.type == "cpu":
            pixels = pixels.to(weight.dtype)
            if pixels.ndim == 4:  # tiles and patches of some families have other axes
                # The order in which a CPU's convolutions compute.
                pixels = pixels.contiguous(memory_format=torch.channels_last)
            parts = torch.split(pixels, _CPU_PICTURES)
            return torch.cat([self._model.vision_features(part) for part in parts])
        return self._model.vision_features(pixels.to(device, weight.dtype, non_blocking=True))


def _digest_of(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _sound(file: Path) -> bool:
    """Whether a chunk is there as it was written; one without a digest is made anew."""
    try:
        return remembered_sha256(file) == _digest_of(file).read_text("ascii")
    except (OSError, ValueError):
        return False


def _require_finite(features: np.ndarray[Any, Any], pictures: Sequence[Path]) -> None:
    """Raise where a feature is no number, or none that the cache's half precision holds."""
    wrong = ~np.isfinite(features.reshape(len(pictures), -1)).all(axis=1)
    if wrong.any():
        raise DataError(
            f"The vision tower gives {pictures[int(wrong.argmax())]} features that are not finite "
            "in half precision, which the cache keeps.",
            "Train with runtime.vision_cache=false, or look at the base's weights.",
        )


def _tower_digest(model: VisionLanguageModel, image: ImagePreprocessing) -> str:
    digest = hashlib.sha256(repr(image).encode())
    if image.tiles:
        digest.update(repr(image.tiles).encode())
    digest.update(f"{_CHUNK} float16".encode())
    for name, tensor in model.vision_tower.state_dict().items():
        digest.update(name.encode())
        # As bytes: numpy has no bf16.
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
