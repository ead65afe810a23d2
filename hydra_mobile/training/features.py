"""The frozen tower's features on disk: computed once per picture, read by every epoch and run.

Features are kept in chunks of a fixed size, each named by the hash of what it was made from
(tower weights, preprocessing, picture bytes), so that a stale chunk cannot be read and a resumed
run computes the same numbers as an uninterrupted one. Knows no text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hydra_mobile.data.llava import open_image
from hydra_mobile.files import cache_home, require_free_space, write_atomically
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor

_CHUNK = 32

Progress = Callable[[int, int], None]


class VisionFeatures:
    """Features of pictures by path: from disk with a cache, else computed when asked for."""

    def __init__(
        self,
        model: MobileVLMForConditionalGeneration,
        processor: MobileVLMProcessor,
        use_cache: bool = True,
    ) -> None:
        self._model = model
        self._processor = processor
        self._use_cache = use_cache
        self._places: dict[Path, tuple[np.ndarray[Any, Any], int]] = {}
        self._tower = _tower_digest(model, processor) if use_cache else ""

    def prepare(self, images: Sequence[Path], progress: Progress) -> None:
        """Compute and store what is missing.

        Raises:
            DataError: a picture is missing or corrupt.
            HydraError: the disk is too full; the message names `runtime.vision_cache=false`.
        """
        if not self._use_cache:
            return
        tower = self._model.vision_tower
        per_image = int(tower.num_patches) * int(tower.feature_size) * 2  # type: ignore[arg-type]
        folder = cache_home() / "features"
        chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
        files = [folder / f"{self._key(chunk)}.npy" for chunk in chunks]
        missing = sum(len(c) for c, f in zip(chunks, files, strict=True) if not f.exists())
        require_free_space(
            folder,
            missing * per_image,
            "cached vision features (runtime.vision_cache=false does without)",
        )
        done = 0
        for chunk, file in zip(chunks, files, strict=True):
            if not file.exists():
                features = self._compute(chunk).to(torch.float16).numpy()
                with write_atomically(file) as temporary, temporary.open("wb") as handle:
                    np.save(handle, features)
            stored = np.load(file, mmap_mode="r")
            self._places.update({image: (stored, i) for i, image in enumerate(chunk)})
            done += len(chunk)
            progress(done, len(images))

    def batch(self, images: Sequence[Path | None]) -> Tensor:
        """Return features float32 [B, P, C]; zeros where there is no picture."""
        tower = self._model.vision_tower
        shape = (len(images), int(tower.num_patches), int(tower.feature_size))  # type: ignore[arg-type]
        result = torch.zeros(shape)
        for row, image in enumerate(images):
            if image is None:
                continue
            if self._use_cache:
                stored, index = self._places[image]
                result[row] = torch.from_numpy(np.asarray(stored[index], dtype=np.float32))
            else:
                result[row] = self._compute([image])[0]
        return result

    def _key(self, images: Sequence[Path]) -> str:
        digest = hashlib.sha256(self._tower.encode())
        for image in images:
            open_image_bytes = _read(image)
            digest.update(hashlib.sha256(open_image_bytes).digest())
        return digest.hexdigest()

    @torch.no_grad()
    def _compute(self, images: Sequence[Path]) -> Tensor:
        pixels = np.stack([self._processor.preprocess(open_image(image)) for image in images])
        device = next(self._model.vision_tower.parameters()).device
        return self._model.vision_features(torch.from_numpy(pixels).to(device)).cpu()


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError:
        open_image(image)  # says what is wrong with it
        raise


def _tower_digest(model: MobileVLMForConditionalGeneration, processor: MobileVLMProcessor) -> str:
    digest = hashlib.sha256(repr(processor.image).encode())
    digest.update(f"{_CHUNK} float16".encode())
    for name, tensor in model.vision_tower.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
