"""Configurations of language models and vision towers: transformers' dictionaries and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_mobile.core.errors import ArtifactError

# What defines a Llama; everything else in a stored configuration is left behind.
_TEXT = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "attention_dropout",
    "mlp_bias",
    "pretraining_tp",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_VISION = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)
# Fields that only one kind of tower has.
_VISION_OWN = {"clip": ("projection_dim",), "siglip": ("vision_use_head",)}
_KINDS = {
    "clip": "clip",
    "clip_vision_model": "clip",
    "siglip": "siglip",
    "siglip_vision_model": "siglip",
}

#: Mean and deviation that a tower was trained with, per channel in units of [0, 1].
COLORS = {
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def text_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `LlamaConfig` that a stored configuration holds."""
    arguments = {key: config[key] for key in _TEXT if key in config}
    rope = config.get("rope_parameters")
    if rope is None:
        # Versions before 5 kept the base and the scaling apart.
        scaling = dict(config.get("rope_scaling") or {})
        kind = scaling.pop("rope_type", scaling.pop("type", "default"))
        theta = config.get("rope_theta", 10000.0)
        rope = {"rope_theta": theta, **scaling, "rope_type": kind}
    return {**arguments, "rope_parameters": rope}


def text_fields(text: Any) -> dict[str, Any]:
    """Return a `LlamaConfig` as versions of transformers before 5 wrote it, without its type."""
    stored = text.to_dict()
    rope = dict(stored.get("rope_parameters") or {})
    fields = {key: stored[key] for key in _TEXT if key in stored}
    fields["rope_theta"] = rope.pop("rope_theta", 10000.0)
    kind = rope.pop("rope_type", "default")
    # The first two kinds are older than the key `rope_type`, and 4.33 insists on `type`.
    key = "type" if kind in ("linear", "dynamic") else "rope_type"
    fields["rope_scaling"] = None if kind == "default" else {key: kind, **rope}
    return fields


def vision_arguments(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the tower's name and arguments for a stored CLIP or SigLIP configuration.

    Args:
        config: of a vision model, or of a whole CLIP or SigLIP.
        where: names the file for the message.

    Raises:
        ArtifactError: the model is of another kind.
    """
    from transformers import CLIPVisionConfig, SiglipVisionConfig

    kind = _KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise ArtifactError(
            f"{where}: model_type of the vision tower is {config.get('model_type')!r}, expected "
            f"one of {', '.join(_KINDS)}."
        )
    inside = dict(config.get("vision_config") or config)
    keys = (*_VISION, *_VISION_OWN[kind])
    classes: dict[str, Any] = {"clip": CLIPVisionConfig, "siglip": SiglipVisionConfig}
    # A stored configuration may leave out what is the default of its class.
    full = classes[kind](**{key: inside[key] for key in keys if key in inside}).to_dict()
    return {"model_type": kind, **{key: full[key] for key in keys}}


def vision_fields(vision: Mapping[str, Any]) -> dict[str, Any]:
    """Return our tower's arguments as transformers' configuration of a vision model.

    Raises:
        ArtifactError: the tower is neither CLIP nor SigLIP.
    """
    kind = str(vision.get("model_type"))
    if kind not in _VISION_OWN:
        raise ArtifactError(
            f"Vision tower `{kind}` has no place in another project's layout; only clip and "
            "siglip have."
        )
    arguments = {key: value for key, value in vision.items() if key != "select_layer"}
    full = vision_arguments(arguments, "the configuration")
    return {**full, "model_type": f"{kind}_vision_model"}
