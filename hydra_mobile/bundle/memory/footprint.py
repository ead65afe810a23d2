"""How much memory running a bundle takes, from the sizes of its files and of its model.

Weights are held once, and the largest one twice for a moment while it is packed. How each runtime
differs from that is in its target's `memory_facts`. The C library of a Linux computer may leave
holes where originals are freed between packed weights; allocators that map each large block by
itself (Android's and Apple's do) have none, so holes are a part of their own, and phones are judged
without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra_mobile.core.errors import ArtifactError

MIB = 2**20
_FLOAT = 4
#: Bytes in memory for each byte of tokenizer.json, with its vocabulary and merges as hash tables.
_TOKENIZER = 8
#: Bytes of a weight, scales left out: they are 1% at 8 bits; a group of 32 has 2 bytes.
_WEIGHT = {"fp32": 4.0, "fp16": 2.0, "w8": 1.0, "w8a8": 1.0, "w4": 0.5625, "w4a8": 0.5625}


@dataclass(frozen=True)
class RuntimeMemory:
    """How one runtime holds a program; where a number is absent, it adds nothing.

    Attributes:
        basis: how far a footprint can be trusted, for people.
        own_bytes: what it holds beside the model: its code that is touched, operator tables,
            sessions.
        packed_4bit: packed 4-bit weights of the decoder, for each byte in the file.
        holes: freed memory between packed weights of the decoder, without the head, that glibc
            cannot give back: bytes for each byte in the file, by precision of the decoder; "" of
            every other precision.
    """

    basis: str
    own_bytes: int
    packed_4bit: float = 1.0
    holes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory, by what they are for.

    Attributes:
        weights: as the runtime holds them, packed or mapped.
        loading: the largest weight, which exists twice for a moment while the program is loaded.
        cache: keys, values and other states of `max_context` tokens.
        prefill: activations of one decoder call with `max_prefill` tokens, and its logits.
        picture: the bitmap, its pixels as floats, and the largest step of the vision encoder.
        tokenizer: vocabulary and merges.
        runtime: code and tables of the runtime itself.
        holes: freed memory that glibc cannot give back; on a computer only.
    """

    weights: int
    loading: int
    cache: int
    prefill: int
    picture: int
    tokenizer: int
    runtime: int
    holes: int

    @property
    def resting(self) -> int:
        """Bytes between two questions: what stays while the model is loaded."""
        return self.weights + self.cache + self.tokenizer + self.runtime

    @property
    def peak(self) -> int:
        """Most bytes at once on a phone, the app itself left out."""
        # Loading, looking at a picture and reading a prompt come one after the other.
        return self.resting + max(self.loading, self.picture, self.prefill)

    @property
    def model_peak(self) -> int:
        """Most bytes at once on a Linux computer, the process without a model left out."""
        return self.peak + self.holes

    def to_dict(self) -> dict[str, int]:
        """Return the parts and their sums, in bytes."""
        return {**asdict(self), "resting": self.resting, "peak": self.peak}


def footprint_of(
    manifest: Mapping[str, Any], memory: RuntimeMemory, *, keeps_scores: bool
) -> Footprint:
    """Return the footprint of a bundle: a vision encoder and a decoder of transformer layers.

    Args:
        manifest: of a bundle; `sizes` may be absent or shorter, as in bundles of earlier versions,
            and the sizes that it would name are then taken to be those of a usual Llama.
        memory: of its runtime.
        keeps_scores: whether attention writes all its scores to memory, instead of working block
            by block.

    Raises:
        ArtifactError: the manifest lacks a size.
    """
    shapes, limits, preset = manifest["shapes"], manifest["limits"], manifest["preset"]
    try:
        row, vocabulary = int(shapes["hidden_size"]), int(shapes["vocab_size"])
        layers, image = int(shapes["layers"]), int(shapes["image_size"])
        width = int(shapes["kv_heads"]) * int(shapes["head_dim"])
    except KeyError as error:
        raise ArtifactError(
            f"manifest.json: `shapes` lacks {error}; memory cannot be estimated.",
            "Export the bundle again with this version of hydra-mobile.",
        ) from None
    sizes = manifest.get("sizes", {})
    # A row, which stands for a token, may hold more than its embedding.
    hidden = int(sizes.get("hidden_size", row))
    heads = int(sizes.get("heads", max(1, hidden // int(shapes["head_dim"]))))
    inner = int(sizes.get("intermediate_size", 4 * hidden))
    tokens, context = int(limits["max_prefill"]), int(limits["max_context"])
    files = {str(f["role"]): int(f["bytes"]) for f in manifest["files"].values()}
    programs = sum(
        size for role, size in files.items() if not role.startswith(("tokenizer", "golden"))
    )
    decoder = sum(size for role, size in files.items() if role.startswith("text_decoder"))
    head = int(vocabulary * hidden * _weight_bytes(preset))
    weights = programs
    if preset["decoder"] == "w4a8":
        weights += int((memory.packed_4bit - 1) * decoder)
    hole = memory.holes.get(preset["decoder"], memory.holes.get("", 0.0))
    return Footprint(
        weights=weights,
        loading=head,
        cache=int(sizes.get("cache_values", 2 * layers * width)) * context * _FLOAT,
        prefill=_prefill(
            tokens, hidden, inner, heads * int(shapes["head_dim"]) + 2 * width, vocabulary
        )
        + _FLOAT * tokens * (row - hidden)
        + (_FLOAT * heads * tokens * context if keeps_scores else 0),
        picture=_picture(image, sizes.get("vision_step"), squares_of(manifest)),
        tokenizer=_TOKENIZER * files.get("tokenizer", 0),
        runtime=memory.own_bytes,
        holes=int(hole * max(0, decoder - head)),
    )


def _weight_bytes(preset: Mapping[str, Any]) -> float:
    """Return bytes of a weight of the head, where `sensitive` may have raised it."""
    raised = preset.get("sensitive") or preset["head"]
    return max(_WEIGHT.get(preset["head"], 4.0), _WEIGHT.get(raised, 4.0))


def _prefill(tokens: int, hidden: int, inner: int, qkv: int, vocabulary: int) -> int:
    """Return bytes of what one layer holds at once, with the embeddings and the logits.

    The residual, q, k and v before and after rotation, and the MLP's gate, up and their product.
    """
    return _FLOAT * (tokens * (4 * hidden + 2 * qkv + 3 * inner) + 2 * vocabulary)


def squares_of(manifest: Mapping[str, Any]) -> int:
    """Return how many squares a picture is read as."""
    texts = manifest.get("image", {}).get("tiles", {}).get("texts", ())
    return max(1, len(texts))


def _picture(size: int, vision_step: int | None, squares: int) -> int:
    """Return bytes of a picture's squares and of a step.

    Bitmaps at 4 bytes a pixel, and pixels as floats twice.
    """
    pixels = size * size
    # A first convolution of 32 channels at half the size, in and out, is the usual largest step.
    step = vision_step if vision_step is not None else pixels * (3 + 32 // 4) * _FLOAT
    return squares * (pixels * 4 + 2 * 3 * pixels * _FLOAT) + 2 * step
