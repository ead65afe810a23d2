"""Checkpoints in MobileVLM's own layout at small width, written key by key from its description.

Nothing here uses the project's importer or exporter: keys and shapes are written out.
"""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

# Sizes of the tiny models: 12 x 12 patches, so that V2's 144 tokens exist.
TEXT = {"hidden": 32, "inner": 48, "layers": 2, "heads": 4}
VISION = {"hidden": 24, "inner": 40, "layers": 3, "heads": 4, "image": 48, "patch": 4}
CLIP_CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_size": VISION["hidden"],
    "intermediate_size": VISION["inner"],
    "num_hidden_layers": VISION["layers"],
    "num_attention_heads": VISION["heads"],
    "image_size": VISION["image"],
    "patch_size": VISION["patch"],
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 16,
}
TOWER = "model.vision_tower.vision_tower."


def language_shapes(vocabulary: int, hidden: int, inner: int, layers: int) -> dict[str, tuple]:
    shapes: dict[str, tuple] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for index in range(layers):
        layer = f"model.layers.{index}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{layer}self_attn.{name}.weight"] = (hidden, hidden)
        shapes[f"{layer}mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{layer}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{layer}input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (vocabulary, hidden)
    return shapes


def vision_shapes(hidden: int, inner: int, layers: int, image: int, patch: int) -> dict[str, tuple]:
    shapes: dict[str, tuple] = {
        "vision_model.embeddings.class_embedding": (hidden,),
        "vision_model.embeddings.patch_embedding.weight": (hidden, 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": ((image // patch) ** 2 + 1, hidden),
        "vision_model.pre_layrnorm.weight": (hidden,),
        "vision_model.pre_layrnorm.bias": (hidden,),
        "vision_model.post_layernorm.weight": (hidden,),
        "vision_model.post_layernorm.bias": (hidden,),
    }
    for index in range(layers):
        layer = f"vision_model.encoder.layers.{index}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}self_attn.{name}.weight"] = (hidden, hidden)
            shapes[f"{layer}self_attn.{name}.bias"] = (hidden,)
        for name in ("layer_norm1", "layer_norm2"):
            shapes[f"{layer}{name}.weight"] = (hidden,)
            shapes[f"{layer}{name}.bias"] = (hidden,)
        shapes[f"{layer}mlp.fc1.weight"] = (inner, hidden)
        shapes[f"{layer}mlp.fc1.bias"] = (inner,)
        shapes[f"{layer}mlp.fc2.weight"] = (hidden, inner)
        shapes[f"{layer}mlp.fc2.bias"] = (hidden,)
    return shapes


def projector_shapes(kind: str, features: int, h: int) -> dict[str, tuple]:
    shapes: dict[str, tuple] = {}
    if kind == "ldpnet":
        mlp, blocks = "mm_projector.model.mlp.", "mm_projector.model.mb_block."
        shapes |= {f"{mlp}1.weight": (h, features), f"{mlp}1.bias": (h,)}
        shapes |= {f"{mlp}3.weight": (h, h), f"{mlp}3.bias": (h,)}
        for index in (1, 2):
            block = f"{blocks}{index}.block."
            shapes[f"{block}0.0.weight"] = (h, 1, 3, 3)
            shapes |= {f"{block}0.1.weight": (h,), f"{block}0.1.bias": (h,)}
            shapes |= {f"{block}1.fc1.weight": (h // 4, h, 1, 1), f"{block}1.fc1.bias": (h // 4,)}
            shapes |= {f"{block}1.fc2.weight": (h, h // 4, 1, 1), f"{block}1.fc2.bias": (h,)}
            shapes[f"{block}2.0.weight"] = (h, h, 1, 1)
            shapes |= {f"{block}2.1.weight": (h,), f"{block}2.1.bias": (h,)}
    elif kind == "ldpnetv2":
        mlp = "mm_projector.mlp.mlp."
        shapes |= {f"{mlp}0.weight": (h, features), f"{mlp}0.bias": (h,)}
        shapes |= {f"{mlp}2.weight": (h, h), f"{mlp}2.bias": (h,)}
        shapes |= {"mm_projector.peg.peg.0.weight": (h, 1, 3, 3)}
        shapes |= {"mm_projector.peg.peg.0.bias": (h,)}
    elif kind == "mlp2x_gelu":
        shapes |= {"mm_projector.0.weight": (h, features), "mm_projector.0.bias": (h,)}
        shapes |= {"mm_projector.2.weight": (h, h), "mm_projector.2.bias": (h,)}
    elif kind == "linear":
        shapes |= {"mm_projector.weight": (h, features), "mm_projector.bias": (h,)}
    return {f"model.{key}": shape for key, shape in shapes.items()}


def original_shapes(kind: str, vocabulary: int) -> dict[str, tuple]:
    """Keys and shapes of a tiny checkpoint with its tower."""
    tower = vision_shapes(*(VISION[k] for k in ("hidden", "inner", "layers", "image", "patch")))
    return {
        **language_shapes(vocabulary, TEXT["hidden"], TEXT["inner"], TEXT["layers"]),
        **{TOWER + key: shape for key, shape in tower.items()},
        **projector_shapes(kind, VISION["hidden"], TEXT["hidden"]),
    }


def original_config(kind: str, vocabulary: int) -> dict[str, object]:
    return {
        "_name_or_path": "a/path/of/its/author",
        "architectures": ["MobileLlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "freeze_mm_mlp_adapter": False,
        "hidden_act": "silu",
        "hidden_size": TEXT["hidden"],
        "image_aspect_ratio": "pad",
        "initializer_range": 0.02,
        "intermediate_size": TEXT["inner"],
        "max_position_embeddings": 2048,
        "mm_hidden_size": VISION["hidden"],
        "mm_projector_type": kind,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-tiny",
        "model_type": "mobilevlm",
        "num_attention_heads": TEXT["heads"],
        "num_hidden_layers": TEXT["layers"],
        "num_key_value_heads": TEXT["heads"],
        "pad_token_id": 0,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": False,
        "vision_config": CLIP_CONFIG,
        "vision_tower_type": "clip",
        "vocab_size": vocabulary,
    }


def tensors_of(shapes: dict[str, tuple], seed: int = 0) -> dict[str, Tensor]:
    """Random values that a model of this size bears, in half precision."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator) * 0.1
        # Gains of norms stand around 1.
        tensors[key] = (value + 1 if len(shape) == 1 and "bias" not in key else value).half()
    return tensors


def write_weights(folder: Path, tensors: dict[str, Tensor], form: str) -> None:
    """Write tensors as bin, sharded-bin, safetensors or sharded-safetensors."""
    ending = "bin" if "bin" in form else "safetensors"
    stem = "pytorch_model" if ending == "bin" else "model"
    parts = [tensors]
    if form.startswith("sharded"):
        names = list(tensors)
        parts = [{n: tensors[n] for n in names[start::3]} for start in range(3)]
    places = {}
    for index, part in enumerate(parts, 1):
        count = f"-{index:05d}-of-{len(parts):05d}" if len(parts) > 1 else ""
        file = f"{stem}{count}.{ending}"
        if ending == "bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    if len(parts) > 1:
        index_file = folder / f"{stem}.{ending}.index.json"
        index_file.write_text(json.dumps({"metadata": {}, "weight_map": places}))


@functools.cache
def sentencepiece_model() -> bytes:
    """A small BPE model with Llama's settings."""
    import sentencepiece

    written = io.BytesIO()
    corpus = [
        "A chat between a curious user and an artificial intelligence assistant.",
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        "USER: Which color is it? ASSISTANT: red green blue circle square yes no",
        "Describe the image briefly. Is there a circle? What is in the image?",
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=written,
        model_type="bpe",
        vocab_size=360,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return written.getvalue()


def vocabulary_size() -> int:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model()).piece_size()


def write_original(folder: Path, kind: str, form: str = "safetensors") -> dict[str, Tensor]:
    """Write a whole tiny checkpoint and return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = vocabulary_size()
    tensors = tensors_of(original_shapes(kind, vocabulary))
    write_weights(folder, tensors, form)
    (folder / "config.json").write_text(json.dumps(original_config(kind, vocabulary)))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return tensors


def write_clip(folder: Path, whole: bool = True, seed: int = 5) -> dict[str, Tensor]:
    """Write a CLIP folder, with its text half if `whole`; return the vision tensors in fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = vision_shapes(*(VISION[k] for k in ("hidden", "inner", "layers", "image", "patch")))
    tensors = {key: value.float() for key, value in tensors_of(shapes, seed).items()}
    others: dict[str, Tensor] = {}
    config: dict[str, object] = CLIP_CONFIG
    if whole:
        config = {"model_type": "clip", "projection_dim": 16, "vision_config": CLIP_CONFIG}
        others = {
            "logit_scale": torch.tensor(2.6),
            "text_projection.weight": torch.zeros(16, 8),
            "visual_projection.weight": torch.zeros(16, VISION["hidden"]),
            "text_model.embeddings.token_embedding.weight": torch.zeros(10, 8),
            "text_model.final_layer_norm.weight": torch.zeros(8),
            "vision_model.embeddings.position_ids": torch.arange(145)[None],
        }
    write_weights(folder, {**tensors, **others}, "bin")
    (folder / "config.json").write_text(json.dumps(config))
    return tensors


def write_llama(folder: Path, tied: bool = False, **changes: object) -> dict[str, Tensor]:
    """Write a Llama folder in sharded .bin files and return its tensors."""
    folder.mkdir(parents=True)
    rows = vocabulary_size()
    shapes = language_shapes(rows, TEXT["hidden"], TEXT["inner"], TEXT["layers"])
    if tied:
        del shapes["lm_head.weight"]
    tensors = tensors_of(shapes, seed=3)
    write_weights(folder, tensors, "sharded-bin")
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": rows,
        "hidden_size": TEXT["hidden"],
        "intermediate_size": TEXT["inner"],
        "num_hidden_layers": TEXT["layers"],
        "num_attention_heads": TEXT["heads"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000.0,
        "tie_word_embeddings": tied,
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return tensors
