"""Configurations of language models and vision towers: transformers' dictionaries and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.checkpoints.known_parts import known_towers, tower_of

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
    """Return the tower's name and arguments for a stored configuration.

    Args:
        config: of a vision model, or of a whole CLIP or SigLIP.
        where: names the file for the message.

    Raises:
        ArtifactError: the model is of another kind.
    """
    kind = str(config.get("model_type"))
    name = next((name for name, tower in known_towers().items() if kind in tower.types), None)
    if name is None:
        known = [each for tower in known_towers().values() for each in tower.types]
        raise ArtifactError(
            f"{where}: model_type of the vision tower is {config.get('model_type')!r}, expected "
            f"one of {', '.join(known)}."
        )
    inside = dict(config.get("vision_config") or config)
    tower = known_towers()[name]
    keys = (*_VISION, *tower.own_fields)
    # A stored configuration may leave out what is the default of its class.
    full = tower.config(**{key: inside[key] for key in keys if key in inside}).to_dict()
    return {"model_type": name, **{key: full[key] for key in keys}}


def vision_fields(vision: Mapping[str, Any]) -> dict[str, Any]:
    """Return our tower's arguments as transformers' configuration of a vision model.

    Raises:
        ArtifactError: no other project has such a tower.
    """
    tower = tower_of(vision)
    arguments = {key: value for key, value in vision.items() if key != "select_layer"}
    full = vision_arguments(arguments, "the configuration")
    return {**full, "model_type": tower.stored_type}
