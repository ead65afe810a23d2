"""How much memory running a bundle takes, from the sizes of its files and of its model.

What the numbers below stand on was measured with `experiments/memory/footprint.py`:

* ExecuTorch maps the program. XNNPACK packs every linear's and convolution's weights into memory of
  its own when its delegate is loaded and gives the mapped original back before the next, so
  weights are held once, and the largest one twice for a moment. The embedding table is read where
  it is mapped; it counts, because all of it is read ahead.
* onnxruntime reads weights tensor by tensor out of the parsed file into memory of its own, and
  again the largest exists twice for a moment. 4-bit weights grow when they are packed: every block
  gets a sum beside its scale.
* The C library of a Linux computer leaves holes where onnxruntime frees originals between packed
  weights. Allocators that map each large block by itself (Android's and Apple's do) have none, so
  holes are a part of their own, and phones are judged without them.

Nothing was measured with CoreML, which runs on Apple's systems only: its weights count once, as
they lie in the package, attention keeps its scores, and what the runtime itself takes is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.core.errors import ArtifactError

MIB = 2**20
_FLOAT = 4
#: What a runtime holds beside the model: its code that is touched, operator tables, sessions.
RUNTIME_BYTES = {"executorch": 8 * MIB, "onnx": 14 * MIB, "coreml": 0}
#: How far a runtime's footprint can be trusted.
BASIS = {
    "executorch": "measured on Linux within 15 %",
    "onnx": "measured on Linux within 15 %",
    "coreml": "computed, never measured; the runtime's own memory is left out",
}
#: Bytes in memory for each byte of tokenizer.json, with its vocabulary and merges as hash tables.
_TOKENIZER = 8
#: Bytes of a weight, scales left out: they are 1 % at 8 bits; a group of 32 has 2 bytes.
_WEIGHT = {"fp32": 4.0, "fp16": 2.0, "w8": 1.0, "w8a8": 1.0, "w4": 0.5625, "w4a8": 0.5625}
#: onnxruntime's packed 4-bit weights beside those in the file.
_PACKED_4BIT = 1.15
#: Holes in the heap beside packed weights of the decoder, without the head, under glibc.
_HOLES = {"fp32": 0.37, "w4a8": 0.6}


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory, by what they are for.

    Attributes:
        weights: as the runtime holds them, packed or mapped.
        loading: the largest weight, which exists twice for a moment while the program is loaded.
        cache: keys and values of `max_context` tokens.
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


def footprint_of_manifest(manifest: Mapping[str, Any]) -> Footprint:
    """Return the footprint of a bundle.

    Args:
        manifest: of a bundle; `sizes` may be absent, as in bundles of earlier versions, and the
            sizes that it would name are then taken to be those of a usual Llama.

    Raises:
        ArtifactError: the manifest lacks a size, or nothing is known about its runtime.
    """
    runtime = str(manifest["runtime"])
    if runtime not in RUNTIME_BYTES:
        raise ArtifactError(
            f"The memory that runtime `{runtime}` needs is not known; it is for "
            f"{', '.join(RUNTIME_BYTES)}."
        )
    shapes, limits, preset = manifest["shapes"], manifest["limits"], manifest["preset"]
    try:
        hidden, vocabulary = int(shapes["hidden_size"]), int(shapes["vocab_size"])
        layers, image = int(shapes["layers"]), int(shapes["image_size"])
        width = int(shapes["kv_heads"]) * int(shapes["head_dim"])
    except KeyError as error:
        raise ArtifactError(
            f"manifest.json: `shapes` lacks {error}; memory cannot be estimated.",
            "Export the bundle again with this version of hydra-mobile.",
        ) from None
    sizes = manifest.get("sizes", {})
    heads = int(sizes.get("heads", max(1, hidden // int(shapes["head_dim"]))))
    inner = int(sizes.get("intermediate_size", 4 * hidden))
    tokens, context = int(limits["max_prefill"]), int(limits["max_context"])
    files = {str(f["role"]): int(f["bytes"]) for f in manifest["files"].values()}
    programs = sum(
        size
        for role, size in files.items()
        if role != "tokenizer" and not role.startswith("golden")
    )
    decoder = sum(size for role, size in files.items() if role.startswith("text_decoder"))
    head = int(vocabulary * hidden * _weight_bytes(preset))
    weights, holes = programs, 0
    if runtime == "onnx":
        if preset["decoder"] == "w4a8":
            weights += int((_PACKED_4BIT - 1) * decoder)
        holes = int(_HOLES.get(preset["decoder"], 0.37) * max(0, decoder - head))
    return Footprint(
        weights=weights,
        loading=head,
        cache=2 * layers * width * context * _FLOAT,
        prefill=_prefill(
            tokens, hidden, inner, heads * int(shapes["head_dim"]) + 2 * width, vocabulary
        )
        + (_FLOAT * heads * tokens * context if _keeps_scores(manifest) else 0),
        picture=_picture(image, sizes.get("vision_step")),
        tokenizer=_TOKENIZER * files.get("tokenizer", 0),
        runtime=RUNTIME_BYTES[runtime],
        holes=holes,
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


def _keeps_scores(manifest: Mapping[str, Any]) -> bool:
    """Whether attention writes all its scores to memory; custom_sdpa works block by block."""
    return bool(
        manifest["runtime"] in ("onnx", "coreml")
        or manifest["details"].get("attention") == "manual"
    )


def _picture(size: int, vision_step: int | None) -> int:
    """Return bytes of the square bitmap at 4 bytes a pixel, pixels as floats twice, and a step."""
    pixels = size * size
    # A first convolution of 32 channels at half the size, in and out, is the usual largest step.
    step = vision_step if vision_step is not None else pixels * (3 + 32 // 4) * _FLOAT
    return pixels * 4 + 2 * 3 * pixels * _FLOAT + 2 * step
