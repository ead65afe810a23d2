"""Tokenizer and processor files of an export, as other projects' loaders read them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from hydra_mobile.core.files import write_atomically, write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import Log
from hydra_mobile.models.checkpoints.base_plan import TOKENIZER_MODEL
from hydra_mobile.models.checkpoints.known_parts import tower_of
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.processor import MobileVLMProcessor

_FAST = "tokenizer.json"
_GENERATION = "generation_config.json"


def write_slow_tokenizer(folder: Path, config: MobileVLMConfig, out: Path, log: Log) -> None:
    """Write what belongs to a language model without pictures.

    The image token is left out: loaders compare the tokenizer's size with the embedding table.

    Args:
        folder: of the base or merged model.
        config: of the model.
        out: folder to write into.
        log: receives a line where the sentencepiece model is missing.
    """
    text: Any = config.text_config
    tokenizer = MobileVLMProcessor.from_pretrained(folder).tokenizer
    if (folder / TOKENIZER_MODEL).is_file():
        shutil.copyfile(folder / TOKENIZER_MODEL, out / TOKENIZER_MODEL)
        kind = "LlamaTokenizer"
    else:
        log(f"{folder.name} has no {TOKENIZER_MODEL}: {_FAST} is written in its place")
        _write_fast(_without_image(tokenizer, text.vocab_size), text.bos_token_id, out)
        kind = "PreTrainedTokenizerFast"
    _write_settings(tokenizer, text, kind, folder, out)


def write_fast_tokenizer(folder: Path, config: MobileVLMConfig, out: Path) -> None:
    """Write what transformers' LLaVA needs: `tokenizer.json` with the image token."""
    text: Any = config.text_config
    tokenizer = MobileVLMProcessor.from_pretrained(folder).tokenizer
    _write_fast(tokenizer, text.bos_token_id, out)
    _write_settings(tokenizer, text, "PreTrainedTokenizerFast", folder, out)


def _write_fast(tokenizer: Tokenizer, bos_token_id: int | None, out: Path) -> None:
    bos = None if bos_token_id is None else tokenizer.id_to_token(bos_token_id)
    if tokenizer.post_processor is None and bos is not None:
        # Ours puts BOS into the prompt itself; other loaders rely on the tokenizer for it.
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, bos_token_id)]
        )
    with write_atomically(out / _FAST) as temporary:
        tokenizer.save(str(temporary))


def _without_image(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Return the tokenizer without tokens that the embedding table has no row for."""
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = [token for token in stored["added_tokens"] if token["id"] < rows]
    return Tokenizer.from_str(dumps(stored))


def _write_settings(tokenizer: Tokenizer, text: Any, kind: str, folder: Path, out: Path) -> None:
    tokens = _special_tokens(tokenizer, text)
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": kind,
            "add_bos_token": True,
            "add_eos_token": False,
            "legacy": True,
            "model_max_length": text.max_position_embeddings,
            "clean_up_tokenization_spaces": False,
            **tokens,
        },
    )
    write_json(out / "special_tokens_map.json", tokens)
    if (folder / _GENERATION).is_file():
        shutil.copyfile(folder / _GENERATION, out / _GENERATION)


def _special_tokens(tokenizer: Tokenizer, text: Any) -> dict[str, str]:
    unknown = tokenizer.token_to_id("<unk>")
    # Padding is never learned; LLaVA pads with <unk>.
    ids: Mapping[str, Any] = {
        "bos_token": text.bos_token_id,
        "eos_token": text.eos_token_id,
        "unk_token": unknown,
        "pad_token": text.pad_token_id if text.pad_token_id is not None else unknown,
    }
    found = {}
    for name, index in ids.items():
        first = index[0] if isinstance(index, list) else index
        token = None if first is None else tokenizer.id_to_token(first)
        if token is not None:
            found[name] = token
    return found


def write_llava_processor(folder: Path, config: MobileVLMConfig, out: Path) -> None:
    """Write the picture settings that transformers' LLaVA reads."""
    image = MobileVLMProcessor.from_pretrained(folder).image
    vision = config.vision_config
    tower = tower_of(vision)
    side = {"height": image.size, "width": image.size}
    write_json(
        out / "preprocessor_config.json",
        {
            "image_processor_type": tower.image_processor,
            "processor_class": "LlavaProcessor",
            "do_resize": True,
            "size": {"shortest_edge": image.size} if tower.crops else side,
            "resample": 3 if image.resample == "bicubic" else 2,
            "do_center_crop": tower.crops,
            "crop_size": side,
            "do_rescale": True,
            "do_normalize": True,
            "do_convert_rgb": True,
            "image_mean": list(image.mean),
            "image_std": list(image.std),
        },
    )
    write_json(
        out / "processor_config.json",
        {
            "processor_class": "LlavaProcessor",
            "image_token": "<image>",
            "patch_size": vision["patch_size"],
            "vision_feature_select_strategy": tower.feature_strategy,
            "num_additional_image_tokens": tower.extra_tokens,
        },
    )
