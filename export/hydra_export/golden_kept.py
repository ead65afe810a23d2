"""Golden vectors, made once for bundles of one model for several runtimes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.bundle.golden import (
    MAX_NEW_TOKENS,
    GoldenInput,
    golden_roles,
    write_golden,
)
from hydra_mobile.core.kept import kept, key_of
from hydra_mobile.core.progress import Log
from hydra_mobile.models.pictures import as_rgb
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import VisionLanguageModel

#: Folder of the cache.
SHELF = "golden"
# Part of the key: raise it when the same model would get other vectors, or other files.
_FORMAT = 1


def golden_of(
    model: VisionLanguageModel,
    processor: MobileVLMProcessor,
    inputs: Sequence[GoldenInput],
    folder: Path,
    log: Log,
    model_key: str = "",
) -> dict[str, str]:
    """Have the golden vectors of a model in `folder`, from an earlier export where it made them.

    Args:
        model: see `write_golden`, as the next two.
        processor: of the model.
        inputs: pictures with a question each.
        folder: of the bundle.
        log: receives a line.
        model_key: hash of all that decides what the model computes; "": they are made and not kept.

    Returns:
        Relative path -> role of each file.

    Raises:
        DataError: there are no inputs.
        ArtifactError: the model answers with numbers that are not finite.
    """

    def make() -> dict[str, str]:
        return write_golden(model, processor, inputs, folder)

    def save(roles: dict[str, str], entry: Path) -> None:
        _copy(roles, folder, entry)

    def load(entry: Path) -> dict[str, str]:
        roles = golden_roles(len(inputs))
        _copy(roles, entry, folder)
        return roles

    if not (model_key and inputs):
        roles, reused = make(), False
    else:
        key = _key(model_key, processor, inputs)
        roles, reused = kept(SHELF, key, make=make, save=save, load=load, log=log)
    earlier = ", those of an earlier export of this model" if reused else ""
    log(f"golden vectors: {len(inputs)} images{earlier}")
    return roles


def _copy(names: dict[str, str], source: Path, target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _key(model_key: str, processor: MobileVLMProcessor, inputs: Sequence[GoldenInput]) -> str:
    pictures = [as_rgb(image) for image, _ in inputs]
    return key_of(
        {
            "format": _FORMAT,
            "model": model_key,
            "processor": processor.to_dict(),
            "picture": [*processor.image_ids, *processor.stop_ids],
            "tokenizer": hashlib.sha256(processor.tokenizer.to_str().encode()).hexdigest(),
            "pictures": [
                [*each.size, hashlib.sha256(each.tobytes()).hexdigest()] for each in pictures
            ],
            "questions": [question for _, question in inputs],
            "tokens": MAX_NEW_TOKENS,
        }
    )
