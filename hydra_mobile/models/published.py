"""The published MobileVLM models as facts: sizes, projector, and where the weights are.

From the configurations of `mtgv/MobileVLM-1.7B` and `openai/clip-vit-large-patch14-336`, and from
the MobileVLM papers for the 2.7B language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest

if TYPE_CHECKING:
    from hydra_mobile.models.configuration import MobileVLMConfig

#: Arguments of tower `clip` for CLIP ViT-L/14 at 336 pixels: 24 x 24 patches of 1024 numbers.
CLIP_L_336: dict[str, Any] = {
    "model_type": "clip",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "select_layer": -2,
}

#: Embeddings that both projectors make of a picture: a grid of 12 x 12.
IMAGE_TOKENS = 144

_LLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SIZES: dict[str, dict[str, int]] = {
    "MobileLLaMA-1.4B": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    },
    "MobileLLaMA-2.7B": {
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
}


@dataclass(frozen=True)
class Published:
    """Where a named base comes from.

    Attributes:
        language: key of the language model's size, "MobileLLaMA-1.4B" or "MobileLLaMA-2.7B".
        projector: name in `PROJECTORS`.
        hub_id: repository of the whole checkpoint, or, where `fresh_projector`, of the language
            model.
        fresh_projector: whether the projector begins random and stage I has to train it.
        vision_hub_id: repository of the vision tower.
    """

    language: str
    projector: str
    hub_id: str
    fresh_projector: bool
    vision_hub_id: str = "openai/clip-vit-large-patch14-336"


#: name of a base -> what it is.
PUBLISHED: dict[str, Published] = {
    "mobilevlm-1.7b": Published("MobileLLaMA-1.4B", "ldpnet", "mtgv/MobileVLM-1.7B", False),
    "mobilevlm-3b": Published("MobileLLaMA-2.7B", "ldpnet", "mtgv/MobileVLM-3B", False),
    "mobilevlm-v2-1.7b": Published("MobileLLaMA-1.4B", "ldpnetv2", "mtgv/MobileVLM_V2-1.7B", False),
    "mobilevlm-v2-3b": Published("MobileLLaMA-2.7B", "ldpnetv2", "mtgv/MobileVLM_V2-3B", False),
    "mobilellama-1.4b-ldp": Published(
        "MobileLLaMA-1.4B", "ldpnet", "mtgv/MobileLLaMA-1.4B-Chat", True
    ),
    "mobilellama-2.7b-ldp": Published(
        "MobileLLaMA-2.7B", "ldpnet", "mtgv/MobileLLaMA-2.7B-Chat", True
    ),
    "mobilellama-1.4b-ldpv2": Published(
        "MobileLLaMA-1.4B", "ldpnetv2", "mtgv/MobileLLaMA-1.4B-Chat", True
    ),
    "mobilellama-2.7b-ldpv2": Published(
        "MobileLLaMA-2.7B", "ldpnetv2", "mtgv/MobileLLaMA-2.7B-Chat", True
    ),
}


def language_arguments(language: str) -> dict[str, Any]:
    """Return the arguments of `LlamaConfig` for a key of `Published.language`."""
    return {**_LLAMA, **_SIZES[language]}


def published_config(name: str) -> MobileVLMConfig:
    """Return the configuration of a published base; nothing is read or downloaded.

    Raises:
        ConfigError: no published base has this name; lists those that do.
    """
    from hydra_mobile.models.configuration import MobileVLMConfig

    if name not in PUBLISHED:
        raise ConfigError(f"`{name}` is no published MobileVLM.", nearest(name, PUBLISHED))
    facts = PUBLISHED[name]
    text = language_arguments(facts.language)
    return MobileVLMConfig(
        vision_config=dict(CLIP_L_336),
        projector_config={"model_type": facts.projector},
        text_config=text,
        # By convention right after the vocabulary, which leaves the embedding table as it is.
        image_token_id=text["vocab_size"],
        num_image_tokens=IMAGE_TOKENS,
        base=name,
    )
