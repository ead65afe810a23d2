"""A merged model's language part as a GGUF file, for llama.cpp.

Weights are those of the merged folder, in F32, Q8_0 or Q4_0; in the quantized forms every matrix
has the form that is asked for, embedding and head too (llama.cpp's own tool would leave the head
wider), so that bits compare with our presets. Norms stay F32. Vision tower and projector are left
out: llama.cpp has no EfficientNet and no pooled projector.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from hydra_mobile.core.errors import ArtifactError

#: Form of a file -> type of its matrices.
FORMS = {
    "f32": gguf.GGMLQuantizationType.F32,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
}
_FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}
#: Where the text model's tensors are, in our merged folders and in those of transformers' SmolVLM.
_PREFIXES = ("language_model.model.", "model.text_model.")
_HEADS = ("language_model.lm_head.weight", "lm_head.weight")
_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
}


def gguf_name(name: str) -> str | None:
    """Return GGUF's name of a tensor of the merged folder; None for vision and projector.

    Raises:
        ArtifactError: a tensor of the language part that a Llama does not have.
    """
    if name in _HEADS:
        return "output.weight"
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return None
    inner = name.removeprefix(prefix)
    if inner in _OUTSIDE:
        return _OUTSIDE[inner]
    start, _, rest = inner.removeprefix("layers.").partition(".")
    module, _, kind = rest.rpartition(".")
    if not start.isdigit() or module not in _LAYER or kind != "weight":
        raise ArtifactError(f"`{name}` has no place in a GGUF file of a Llama.")
    return f"blk.{start}.{_LAYER[module]}.weight"


def interleaved(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key weight as llama.cpp's rotation wants them.

    transformers rotates the first half of a head's rows with the second; llama.cpp rotates
    neighbors.

    Args:
        weight: (heads * size, in).
        heads: query heads, or key-value heads.
    """
    out, inner = weight.shape
    halves = weight.reshape(heads, 2, out // heads // 2, inner)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(out, inner))


def text_settings(folder: Path) -> Any:
    """Return the language part's settings as attributes, read without transformers or torch."""
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return SimpleNamespace(**stored["text_config"])


def tensors(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield GGUF's name and the values, in fp32, of each tensor of the language part."""
    text = text_settings(folder)
    heads = {"attn_q": text.num_attention_heads, "attn_k": text.num_key_value_heads}
    with safe_open(folder / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            theirs = gguf_name(name)
            if theirs is None or (theirs == "output.weight" and text.tie_word_embeddings):
                continue
            values: NDArray[np.float32] = file.get_tensor(name).astype(np.float32)
            module = theirs.split(".")[-2]
            yield theirs, interleaved(values, heads[module]) if module in heads else values


def write_gguf(folder: Path, out: Path, form: str) -> int:
    """Write the language part of the merged model at `folder` to the file `out`.

    Args:
        folder: a merged folder or a base.
        out: the file; replaced when the new one is complete.
        form: key of `FORMS`.

    Returns:
        Its number of weights.

    Raises:
        ArtifactError: the language part is no Llama, or a row of a matrix is no multiple of 32.
    """
    text = text_settings(folder)
    temporary = out.with_suffix(".tmp")
    writer = gguf.GGUFWriter(temporary, "llama")
    _describe(writer, text, form)
    _vocabulary(writer, folder, text)
    count = 0
    for name, values in tensors(folder):
        kind = FORMS[form] if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        if kind != gguf.GGMLQuantizationType.F32 and values.shape[1] % 32:
            raise ArtifactError(f"{name} has rows of {values.shape[1]}: {form} needs 32 x n.")
        count += values.size
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(out)
    return count


def _describe(writer: Any, text: Any, form: str) -> None:
    writer.add_name("merged")
    writer.add_file_type(_FILE_TYPES[form])
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_freq_base(float(text.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_vocab_size(text.vocab_size)


def _vocabulary(writer: Any, folder: Path, text: Any) -> None:
    """Write the vocabulary: llama.cpp loads no model without one, though only ids are asked."""
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    pieces = {number: piece for piece, number in stored["model"]["vocab"].items()}
    special = {token["id"]: token["content"] for token in stored["added_tokens"]}
    named = {**pieces, **special}
    kinds = gguf.TokenType
    numbers = range(text.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([named.get(i, f"[unused{i}]") for i in numbers])
    writer.add_token_types(
        [
            kinds.CONTROL if i in special else kinds.NORMAL if i in pieces else kinds.UNUSED
            for i in numbers
        ]
    )
    merges = stored["model"].get("merges") or [["a", "b"]]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(text.bos_token_id)
    writer.add_eos_token_id(text.eos_token_id)
