"""The configuration of transformers' `LlavaForConditionalGeneration`, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.checkpoints.known_parts import projector_of, tower_of
from hydra_mobile.models.checkpoints.part_configs import (
    text_arguments,
    text_fields,
    vision_arguments,
    vision_fields,
)
from hydra_mobile.models.configuration import MobileVLMConfig

#: The projector of transformers' LLaVA, which its configuration does not name.
LLAVA_PROJECTOR = {"model_type": "mlp", "depth": 2}
#: Rows of an embedding table are padded to a multiple of it.
ROW_MULTIPLE = 64


@dataclass(frozen=True)
class LlavaFacts:
    """What the configuration of a LLaVA checkpoint says.

    Attributes:
        text: arguments of `LlamaConfig`.
        vision: our tower's name and arguments, `select_layer` included.
        image_token_id: the id that stands for a picture's embeddings.
    """

    text: dict[str, Any]
    vision: dict[str, Any]
    image_token_id: int


def is_llava(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json is that of transformers' LLaVA."""
    return config.get("model_type") == "llava" and "text_config" in config


def read_llava(config: Mapping[str, Any], where: str) -> LlavaFacts:
    """Read the config.json of a `LlavaForConditionalGeneration`.

    Args:
        config: its content.
        where: names the file for messages.

    Raises:
        ArtifactError: the model computes something that this project has no part for.
    """
    text = dict(config["text_config"])
    require_llama(str(text.get("model_type", "llama")), where)
    stored = {"model_type": "clip_vision_model", **(config.get("vision_config") or {})}
    vision = vision_arguments(stored, where)
    layer = config.get("vision_feature_layer", -2)
    for key, found, expected in (
        ("vision_feature_layer", layer, layer if isinstance(layer, int) else "one number"),
        (
            "vision_feature_select_strategy",
            config.get("vision_feature_select_strategy", "default"),
            tower_of(vision).feature_strategy,
        ),
        ("projector_hidden_act", config.get("projector_hidden_act", "gelu"), "gelu"),
        ("multimodal_projector_bias", config.get("multimodal_projector_bias", True), True),
    ):
        if found != expected:
            raise ArtifactError(f"{where}: {key} is {found!r}, expected {expected!r}.")
    arguments = text_arguments(text)
    if config.get("tie_word_embeddings"):
        arguments["tie_word_embeddings"] = True
    image = config.get("image_token_index", config.get("image_token_id", 32000))
    return LlavaFacts(arguments, {**vision, "select_layer": layer}, int(image))


def require_llama(model_type: str, where: str) -> None:
    """Raise unless a language model is a Llama.

    Raises:
        ArtifactError: names the architecture found.
    """
    if model_type != "llama":
        raise ArtifactError(
            f"{where}: the language model is a {model_type!r}, expected 'llama'.",
            "Only Llama models can be used: MobileLLaMA, TinyLlama, SmolLM2, Vicuna, Llama 2 or 3.",
        )


def write_llava(config: MobileVLMConfig, rows: int, dtype: str) -> dict[str, Any]:
    """Return the config.json of a `LlavaForConditionalGeneration`.

    Args:
        config: of our model.
        rows: of the embedding table as it is written.
        dtype: of the weights, for example "float16".

    Raises:
        ArtifactError: the projector is not LLaVA's, or no other project has such a tower.
    """
    kind, arguments = projector_of(config.projector_config)
    if kind.transformers_prefixes(arguments) is None:
        raise ArtifactError(
            f"Projector {config.projector_config} is not the one of transformers' LLaVA, an mlp of "
            "depth 2.",
            "Choose --layout mobilevlm.",
        )
    vision = vision_fields(config.vision_config)
    text = {**text_fields(config.text_config), "model_type": "llama", "vocab_size": rows}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": config.image_token_id,
        "image_seq_length": config.num_image_tokens,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": config.vision_config.get("select_layer", -2),
        "vision_feature_select_strategy": tower_of(config.vision_config).feature_strategy,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "torch_dtype": dtype,
        "text_config": text,
        "vision_config": vision,
    }
