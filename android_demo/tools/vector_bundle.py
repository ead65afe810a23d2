"""A small bundle of the random base `tiny`, for tests that load one in the app's runtime.

Its limits are short, so that prompts take several calls of the decoder and a context fills up.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hydra_mobile.models.registry import base_folder

QUESTION = "Is there a red car in the image?"


def made_picture(seed: int) -> Image.Image:
    """Return a picture of 40 * 24 random pixels."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8))


def write_bundle(out: Path, preset: str = "fp32", runtime: str = "onnx") -> Path:
    """Export the bundle into `out`, a folder that is not there yet, and return it.

    Raises:
        HydraError: the extra of the runtime is not installed.
    """
    from hydra_export.export import export_bundle
    from hydra_export.targets import Limits

    return export_bundle(
        base_folder("tiny"),
        target="android",
        runtime=runtime,
        preset=preset,
        out=out,
        golden_inputs=[(made_picture(0), QUESTION)],
        limits=Limits(max_context=120, max_prefill=16),
    ).folder
