"""How far another form of the vision encoder is from the model, on the golden pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hydra_mobile.bundle.golden import VECTORS

Array = NDArray[np.float32]


def golden_pixels(folder: Path) -> list[Array]:
    """Return the pixels float32 [1, 3, S, S] of each golden picture in a bundle's folder."""
    vectors = load_file(folder / VECTORS)
    count = sum(name.endswith(".pixels") for name in vectors)
    return [vectors[f"{index}.pixels"][None] for index in range(count)]


def image_parity(folder: Path, encode: Callable[[Array], Array]) -> dict[str, float]:
    """Compare image embeddings with those of the model's own forward.

    Args:
        folder: a bundle's, with its golden vectors.
        encode: pixels float32 [1, 3, S, S] -> embeddings [1, N, hidden].

    Returns:
        `cosine`, the least of all pictures, and `largest_difference`.
    """
    vectors = load_file(folder / VECTORS)
    cosines, differences = [], []
    for index, pixels in enumerate(golden_pixels(folder)):
        found = encode(pixels)[0].astype(np.float64).ravel()
        expected = vectors[f"{index}.image"].astype(np.float64).ravel()
        norms = np.linalg.norm(found) * np.linalg.norm(expected)
        cosines.append(float(found @ expected / norms))
        differences.append(float(np.max(np.abs(found - expected))))
    return {
        "cosine": float(np.min(cosines)),
        "largest_difference": float(np.max(differences)),
    }
