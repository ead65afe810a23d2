"""Reference outputs: what one model computes on a few pictures, part by part.

They are the golden vectors of a bundle, or recorded from a loaded runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.golden import MAX_NEW_TOKENS, pixel_statistics
from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_json
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.runtimes.base import Array, CacheState, Runtime

_CASE_KEYS = ("image", "question", "pixels", "before", "after", "ids")


@runtime_checkable
class SplitVision(Protocol):
    """A runtime whose vision encoder and projector can be run separately."""

    def vision_features(self, pixels: Array) -> Array:
        """Map pixels [1, 3, H, W] to the tower's features [1, P, C]."""

    def project(self, features: Array) -> Array:
        """Map features [1, P, C] to image embeddings [1, N, hidden]."""


@dataclass(frozen=True)
class ReferenceOutputs:
    """One picture with a question, and what came out of each part.

    Attributes:
        image: file of the picture.
        question: its question.
        statistics: of the pixels, see `hydra_mobile.bundle.golden.pixel_statistics`.
        pixels: float32 [3, H, W]; None where golden vectors are too old to hold them.
        before: prompt ids before the image.
        after: prompt ids after it.
        features: of the vision tower, float32 [P, C]; None where they cannot be had apart.
        embeddings: of the picture, float32 [N, hidden].
        logits: float32 [V] after the prompt.
        ids: greedy answer, the stop id included.
        margins: lead of each greedy token's logit over the second best.
    """

    image: Path
    question: str
    statistics: dict[str, Any]
    pixels: Array | None
    before: list[int]
    after: list[int]
    features: Array | None
    embeddings: Array
    logits: Array
    ids: list[int]
    margins: list[float]


def golden_outputs(bundle: Bundle) -> list[ReferenceOutputs]:
    """Return the golden vectors of a bundle.

    Raises:
        ArtifactError: they are missing, unreadable, or a case lacks one of its values.
    """
    path, vectors_path = bundle.file("golden"), bundle.file("golden_vectors")
    golden = read_json(path, "golden vectors")
    with reading(vectors_path, "golden vectors", "Export it again.", also=(SafetensorError,)):
        vectors: dict[str, Array] = load_file(vectors_path)
    cases = golden.get("cases") if isinstance(golden, dict) else None
    if not cases:
        raise ArtifactError(
            f"{path} holds no golden cases, so there is nothing to compare with.",
            "Export the bundle again.",
        )
    for index, case in enumerate(cases):
        lacking = [key for key in _CASE_KEYS if key not in case]
        lacking += [
            f"{index}.{name}"
            for name in ("image", "logits", "margins")
            if f"{index}.{name}" not in vectors
        ]
        if lacking:
            raise ArtifactError(
                f"{path}: case {index} lacks `{lacking[0]}`.", "Export the bundle again."
            )
    for name, values in vectors.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ArtifactError(
                f"{vectors_path}: `{name}` holds numbers that are not finite, so nothing can be "
                "compared with it.",
                "The model was broken when it was exported; look at its weights and export again.",
            )
    for index, case in enumerate(cases):
        image = (path.parent / str(case["image"])).relative_to(bundle.folder).as_posix()
        if image not in bundle.manifest["files"]:
            raise ArtifactError(
                f"{path}: case {index} names the image `{image}`, which the manifest does not.",
                "Export the bundle again.",
            )
    return [_golden_case(path.parent, case, i, vectors) for i, case in enumerate(cases)]


def _golden_case(
    folder: Path, case: dict[str, Any], index: int, vectors: dict[str, Array]
) -> ReferenceOutputs:
    return ReferenceOutputs(
        image=folder / case["image"],
        question=case["question"],
        statistics=case["pixels"],
        pixels=vectors.get(f"{index}.pixels"),
        before=case["before"],
        after=case["after"],
        features=vectors.get(f"{index}.features"),
        embeddings=vectors[f"{index}.image"],
        logits=vectors[f"{index}.logits"],
        ids=case["ids"],
        margins=[float(margin) for margin in vectors[f"{index}.margins"]],
    )


def record(runtime: Runtime, questions: Sequence[tuple[Path, str]]) -> list[ReferenceOutputs]:
    """Run every part of a runtime on pictures with a question each, and keep the outputs."""
    return [_record(runtime, image, question) for image, question in questions]


def _record(runtime: Runtime, path: Path, question: str) -> ReferenceOutputs:
    processor = runtime.processor
    pixels = processor.preprocess(open_picture(path))
    prompt = processor.prompt(question)
    features = (
        runtime.vision_features(pixels[None])[0] if isinstance(runtime, SplitVision) else None
    )
    embeddings = runtime.encode_image(pixels[None])
    logits, state = prefill(runtime, prompt.before, embeddings, prompt.after)
    first, ids, margins = logits, [], []
    for _ in range(MAX_NEW_TOKENS):
        second, best = np.partition(logits, -2)[-2:]
        ids.append(int(logits.argmax()))
        margins.append(float(best - second))
        if ids[-1] in processor.stop_ids or state.length >= runtime.max_context:
            break
        logits, state = runtime.decode(runtime.embed(ids[-1:]), state)
    return ReferenceOutputs(
        image=path,
        question=question,
        statistics=pixel_statistics(pixels),
        pixels=pixels,
        before=prompt.before,
        after=prompt.after,
        features=features,
        embeddings=embeddings[0],
        logits=first,
        ids=ids,
        margins=margins,
    )


def prefill(
    runtime: Runtime, before: list[int], embeddings: Array, after: list[int]
) -> tuple[Array, CacheState]:
    """Read a prompt around image embeddings [1, N, hidden]; return logits [V] and the state."""
    parts = [runtime.embed(before), runtime.picture_rows(embeddings), runtime.embed(after)]
    return runtime.decode(np.concatenate(parts, axis=1), CacheState())
