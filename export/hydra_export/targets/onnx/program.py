"""ONNX: three graphs under the names that transformers.js and phone apps read.

`vision_encoder.onnx`, `embed_tokens.onnx` and `decoder_model_merged.onnx`, each with its large
weights beside it in `<graph>_data`, which phones can map.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hydra_export.graphs.embedding import table_scale
from hydra_export.graphs.llama_layers import is_llama, require_by_hand
from hydra_export.quantization.calibration import Calibration
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.targets.base import AUTO
from hydra_export.targets.onnx.decoder import adapter_slots, decoder_graph
from hydra_export.targets.onnx.encoders import (
    TABLE_CODES,
    TABLE_SCALES,
    embedding_graph,
    projector_tensors,
    write_vision_encoder,
)
from hydra_export.targets.onnx.graph_writer import IR_VERSION, OPSET
from hydra_export.targets.onnx.linear import StoredInt4
from hydra_export.targets.onnx.traced import write_traced_decoder
from hydra_mobile.bundle.interface import (
    TEXT_DECODER,
    TOKEN_EMBEDDING,
    VISION_ENCODER,
    Limits,
    Log,
    TargetResult,
)
from hydra_mobile.bundle.presets import Precision, Preset
from hydra_mobile.core.errors import HydraError
from hydra_mobile.models.vision_language import head_dim

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel

#: Role in the bundle -> file.
FILES = {
    VISION_ENCODER: "vision_encoder.onnx",
    TOKEN_EMBEDDING: "embed_tokens.onnx",
    TEXT_DECODER: "decoder_model_merged.onnx",
}
# What each part can be written at; anything else becomes the value behind the arrow, and is told.
_LINEAR: dict[Precision, Precision] = {"w8": "w8a8", "w4": "w4a8"}
_TRACED: dict[Precision, Precision] = {"w8": "w8a8", "w4": "w8a8", "w4a8": "w8a8"}
_TABLE: dict[Precision, Precision] = {"w8a8": "w8", "w4a8": "w4"}


def write_program(
    model: VisionLanguageModel,
    preset: Preset,
    folder: Path,
    limits: Limits,
    log: Log,
    *,
    calibration: Calibration | None = None,
    model_key: str = "",
    adapters: bool = False,
    vision_backend: str = AUTO,
) -> TargetResult:
    """Write the three graphs of `model` into `folder`; see `Target.write`.

    Args:
        model: merged, fp32, on the CPU; left as it was.
        preset: precision of each part.
        folder: existing folder.
        limits: cache length and longest call.
        log: gets one line for each step.
        calibration: what 4-bit parts are measured and rounded on; None: the model's own text.
        model_key: see `WriteOptions`.
        adapters: make a base program: linears of the decoder layers take low-rank updates as
            inputs, and the projector's weights are inputs as well (`bundle.lora_file`).
        vision_backend: "npu" writes the encoder a second time, see `npu_encoder`.

    Raises:
        HydraError: the group size or the language model is none that onnxruntime has a kernel for.
    """
    if preset.group_size not in (16, 32, 64, 128, 256):
        raise HydraError(
            f"Preset `{preset.name}`: group_size is {preset.group_size}; onnxruntime has 4-bit "
            "kernels for 16, 32, 64, 128 and 256.",
        )
    by_hand = is_llama(model.language_model)
    if not by_hand and (adapters or vision_backend != AUTO):
        require_by_hand(model.language_model, "ONNX")
    preset, fallbacks = _what_onnx_can(preset)
    seconds: dict[str, float] = {}
    files = dict(FILES)

    def write(role: str, make: Callable[[Path], list[Path]]) -> None:
        started = time.perf_counter()
        written = make(folder / FILES[role])
        if len(written) > 1:
            files[f"{role}_data"] = written[1].name
        seconds[role] = round(time.perf_counter() - started, 2)
        megabytes = sum(path.stat().st_size for path in written) / 1e6
        log(f"{FILES[role]}: {megabytes:.0f} MB in {seconds[role]:.1f} s")

    counts: dict[str, int] = {}
    head: StoredInt4 | None = None

    def make_vision(path: Path) -> list[Path]:
        written, found = write_vision_encoder(
            model.vision_tower,
            model.projector,
            model.image_size,
            preset,
            path,
            projector_inputs=adapters,
            rows=model.picture_rows,
        )
        counts.update(found)
        return written

    language_model = model.language_model
    embedding: Any = model.language_model.get_input_embeddings()
    table = embedding.weight.detach()

    def make_embedding(path: Path) -> list[Path]:
        nonlocal head
        graph = embedding_graph(
            table,
            plan.precisions["embedding"],
            plan.int4.get("embedding"),
            layout=model.layout,
            scale=table_scale(embedding),
        )
        written = graph.save(path)
        # A table so small that it lies inside its graph is written again.
        if plan.tied and {TABLE_CODES, TABLE_SCALES} <= graph.stored.keys():
            head = graph.stored[TABLE_CODES], graph.stored[TABLE_SCALES]
        return written

    def make_decoder(path: Path) -> list[Path]:
        context, group = limits.max_context, preset.group_size
        if not by_hand:
            return write_traced_decoder(model, plan, context, group, path, head)
        return decoder_graph(
            language_model, plan, context, group, adapters=adapters, table=head
        ).save(path)

    with torch.no_grad():
        started = time.perf_counter()
        plan = plan_decoder(model, preset, calibration, model.image_size, log, model_key)
        fallbacks += plan.fallbacks
        seconds["rounding"] = round(time.perf_counter() - started, 2)
        write(VISION_ENCODER, make_vision)
        write(TOKEN_EMBEDDING, make_embedding)
        write(TEXT_DECODER, make_decoder)
    if preset.vision != "fp32" and counts["conv_fp32"]:
        fallbacks.append(
            f"vision: {counts['conv_fp32']} convolutions compute in fp32, from weights stored in "
            "8 bits (1 x 1) and fp16; in 8 bits with dynamic activations the features are lost."
        )
    if preset.decoder == "fp16":
        fallbacks.append(
            "all parts: weights are stored in fp16 and widened when a program is loaded; "
            "onnxruntime has no fast fp16 on CPUs, so products are fp32."
        )
    details = _details(model, plan, counts, seconds)
    if vision_backend == "npu":
        from hydra_export.targets.onnx import npu_encoder

        started = time.perf_counter()
        size = model.image_size
        facts = npu_encoder.write_npu_encoder(model.vision_tower, model.projector, size, folder)
        details["vision_backends"] = {vision_backend: facts}
        files[npu_encoder.ROLE] = npu_encoder.FILE
        seconds[npu_encoder.ROLE] = round(time.perf_counter() - started, 2)
        megabytes = (folder / npu_encoder.FILE).stat().st_size / 1e6
        log(
            f"{npu_encoder.FILE}: {megabytes:.0f} MB in {seconds[npu_encoder.ROLE]:.1f} s, cosine "
            f"{facts['cosine']:.4f}; no NPU has run it"
        )
    if adapters:
        details["adapter_inputs"] = _adapter_inputs(model)
        fallbacks += _adapter_fallbacks(preset)
    return TargetResult(
        files=files,
        details=details,
        fallbacks=fallbacks,
    )


def _what_onnx_can(preset: Preset) -> tuple[Preset, list[str]]:
    """Return the preset with precisions that ONNX has, and a sentence for each that changed."""
    tables = {
        "vision": _TRACED,
        "projector": _TRACED,
        "embedding": _TABLE,
        "decoder": _LINEAR,
        "head": _LINEAR,
    }
    values = preset.to_dict()
    fallbacks = []
    for part, table in tables.items():
        wanted = values[part]
        if wanted in table:
            values[part] = table[wanted]
            fallbacks.append(f"{part}: {wanted} is not available in ONNX; it is {values[part]}.")
    return Preset(**values), fallbacks


def _details(
    model: VisionLanguageModel,
    plan: QuantizationPlan,
    counts: dict[str, int],
    seconds: dict[str, float],
) -> dict[str, Any]:
    text = model.config.text_config
    return {
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "attention": "com.microsoft.GroupQueryAttention; the cache is written in place when past "
        "and present are bound to one buffer"
        if is_llama(model.language_model)
        else "traced; past and present of every state are to be bound to one buffer of all slots",
        "logits": "last position only, [batch, 1, vocabulary]",
        "batches": "all sequences of a call have one length; padding is not supported",
        "runtime_operators": _runtime_operators(plan),
        "quantisation": plan.details,
        "vision_operators": counts,
        "seconds": seconds,
        "cache": {
            "layers": text.num_hidden_layers,
            "kv_heads": text.num_key_value_heads,
            "head_size": head_dim(text),
            "dtype": "float32",
        },
    }


def _adapter_inputs(model: VisionLanguageModel) -> dict[str, Any]:
    """Return shapes of what an adapter may fill: linears [out, in] and whole tensors, by name."""
    return {
        "linears": {
            slot.name: list(slot.shape) for slot in adapter_slots(model.language_model).values()
        },
        "tensors": {
            name: list(tensor.shape) for name, tensor in projector_tensors(model.projector).items()
        },
    }


def _adapter_fallbacks(preset: Preset) -> list[str]:
    if preset.projector in ("fp32", "fp16"):
        return []
    return [
        f"projector: {preset.projector} is not available for weights that are inputs of a program; "
        "they are fp16, widened at every image."
    ]


def _runtime_operators(plan: QuantizationPlan) -> list[str]:
    """Return the operators beyond the ONNX standard that the runtime must have."""
    names = ["GroupQueryAttention", "QuickGelu", "SkipSimplifiedLayerNormalization"]
    linears = {value for name, value in plan.precisions.items() if name != "embedding"}
    if "w4a8" in linears:
        names.append("MatMulNBits")
    if "w8a8" in linears:
        names.append("MatMulNBits with 8 bits, on arm64 since onnxruntime 1.23")
    if plan.precisions["embedding"] == "w4":
        names.append("GatherBlockQuantized")
    return [f"com.microsoft.{name}" for name in names]
