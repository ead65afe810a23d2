"""Reading a model folder of any family with errors that a person can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from hydra_mobile.core.boundaries import FOREIGN, reason_of, shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.model_folder import read_config, require_as_merged
from hydra_mobile.models.families import family_of
from hydra_mobile.models.on_meta import on_meta
from hydra_mobile.models.processor import PROCESSOR_FILE, MobileVLMProcessor
from hydra_mobile.models.stored_weights import require_stored
from hydra_mobile.models.tiles import Grid, tiles_in
from hydra_mobile.models.vision_language import VisionLanguageModel

#: What transformers raises for a config.json of which it can make no model.
OF_NO_MODEL: tuple[type[Exception], ...] = (*FOREIGN, StrictDataclassError)
# Only values of config.json raise these.
_WRONG_VALUES: tuple[type[Exception], ...] = (ArithmeticError, StrictDataclassError)


def load_model(
    folder: Path, dtype: torch.dtype | Literal["auto"] = torch.float32
) -> VisionLanguageModel:
    """Load a base or merged folder in eval mode; "auto" is the dtype of its files.

    Memory is asked for after config.json and the headers of the files were found to agree.

    Raises:
        ArtifactError: weights are missing, cut short or of another architecture; no family knows
            the architecture; or the folder is a merged one, and a file is not what its merge wrote.
    """
    if not (folder / "config.json").is_file():
        raise ArtifactError(
            f"{folder} has no config.json: expected the folder of a vision-language model."
        )
    family = family_of(folder)
    require_as_merged(folder)
    file = folder / "config.json"
    stored = read_config(file, "the configuration of a vision-language model")
    if stored.get("quantization_config"):
        raise ArtifactError(
            f"{file} says that the weights are quantized: expected floating-point numbers.",
            "Take the checkpoint as it was before; runtime.base_precision=4bit trains on 4 bits.",
            where=f"{file}, quantization_config",
            found=shown(stored["quantization_config"]),
            expected="no such key",
        )
    try:
        empty = on_meta(lambda: family.empty_model(family.config_of(stored)).whole, str(file))
        require_stored(folder, empty)
        with without_progress_bars():
            model, loading = family.model_class().from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"The weights in {folder} cannot be read: {error}.",
            "The file was cut short or altered; make or fetch the folder again.",
        ) from error
    except OF_NO_MODEL as error:
        raise of_no_model(folder, error) from error
    wrong = sorted(loading["missing_keys"]) + sorted(loading["unexpected_keys"])
    if wrong:
        raise ArtifactError(
            f"The weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing "
            f"or unknown, for example {', '.join(wrong[:3])}.",
            "The files are of another model, or were altered: make or fetch the folder again.",
            where=str(folder / "config.json"),
            found=f"`{wrong[0]}`",
        )
    return family.split(model).eval()


def of_no_model(folder: Path, error: Exception) -> ArtifactError:
    """Return the error for a config.json of which transformers can make no model."""
    return ArtifactError(
        f"{folder / 'config.json'} describes no model: {reason_of(error)}.",
        "The file was altered, or is of another version of transformers.",
        where=str(folder / "config.json"),
        found=reason_of(error),
        expected="the configuration of a vision-language model",
    )


def load_processor(
    folder: Path, recipe: Path | None = None, tiles: Grid | None = None
) -> MobileVLMProcessor:
    """Return tokenizer, template and image preprocessing of a model folder.

    Args:
        folder: the model's.
        recipe: an adapter's folder, whose template and preprocessing count where it has them: it
            was perhaps trained with others than its base has.
        tiles: squares that a picture is read in; None: as the folder says, one where it says
            nothing.

    Raises:
        ArtifactError: a file is missing, or says what cannot be expressed.
        HydraError: there are tiles, and the family reads none.
    """
    if recipe is not None and (recipe / PROCESSOR_FILE).is_file():
        return MobileVLMProcessor.from_pretrained(folder, recipe=recipe)
    family, grid = family_of(folder), tiles or tiles_in(folder)
    try:
        return family.tiled_processor(folder, grid) if grid else family.processor(folder)
    except _WRONG_VALUES as error:
        raise of_no_model(folder, error) from error


def load_with_processor(
    folder: Path, recipe: Path | None = None, dtype: torch.dtype = torch.float32
) -> tuple[VisionLanguageModel, MobileVLMProcessor]:
    """Load a base or merged folder with its processor; see `load_processor`.

    Raises:
        ArtifactError: as both, or they are of different models.
    """
    processor = load_processor(folder, recipe)
    model = load_model(folder, dtype)
    require_same_pictures(recipe or folder, model, processor)
    return model, processor


def require_same_pictures(
    folder: Path, model: VisionLanguageModel, processor: MobileVLMProcessor
) -> None:
    """Raise unless pictures are prepared as the model reads them; `folder` is the processor's.

    Raises:
        ArtifactError: another size, number of image tokens or image token.
    """
    theirs = {
        "image.size": (processor.image.size, model.image_size),
        "num_image_tokens": (processor.num_image_tokens, model.num_image_tokens),
        "image_token_id": (processor.image_token_id, model.config.image_token_id),
    }
    for key, (found, expected) in theirs.items():
        if found != expected:
            raise ArtifactError(
                f"{folder}: pictures are prepared for another model: {key} is {shown(found)}, "
                f"the model's is {expected}.",
                "Take the processor's file from where the model came from.",
                where=f"{folder / PROCESSOR_FILE}, {key}",
                found=shown(found),
                expected=str(expected),
            )


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for work of a second."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
