"""Target ExecuTorch: one program with three methods, for XNNPACK on a phone's CPU.

The names and shapes of the methods are those that ExecuTorch's own multimodal runners look up.

What makes a lowering quick enough for a laptop (30 layers, 8-bit and 4-bit weights):

* the garbage collector rests: it walks a graph of millions of live objects again and again, and
  took nearly half of the time;
* no Python code is written for graphs that nobody calls (`late_code`);
* graphs are decomposed once, not three times (`lowering`);
* delegates of the decoder skip XNNPACK's rewrites for convolutions and activations, each of which
  re-traces every delegate; there is nothing in a decoder that they apply to.
"""

from __future__ import annotations

import contextlib
import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import executorch.extension.llm.custom_ops.custom_ops
import executorch.kernels.quantized  # noqa: F401 (both imports register operators)
import torch
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchBackendConfig
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec
from executorch.exir.passes import MemoryPlanningPass
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.quantization.quant_api import (
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
)

from hydra_export.graphs.activations import spell_out_tanh_gelu
from hydra_export.graphs.decoder import Attention, TextDecoder
from hydra_export.graphs.embedding import TokenEmbedding
from hydra_export.graphs.half import halve_linears
from hydra_export.graphs.llama_layers import is_llama
from hydra_export.graphs.pointwise import PointwiseLinear, linearize_pointwise
from hydra_export.graphs.stored import widen, widen_all
from hydra_export.graphs.traced_decoder import TracedDecoder
from hydra_export.graphs.vision import VisionEncoder
from hydra_export.quantization.calibration import Calibration
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.targets.base import AUTO
from hydra_export.targets.executorch import delegation, vulkan
from hydra_export.targets.executorch.late_code import code_when_called
from hydra_export.targets.executorch.lowering import lowered
from hydra_mobile.adapters.int4_grid import Int4Weight
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
from hydra_mobile.core.memory import peak_resident_bytes

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel

PROGRAM = "model.pte"

#: What "auto" means: custom decodes faster, manual prefills faster and needs no custom operators
#: (`experiments/presets/on_executorch.py` measures both).
DEFAULT_ATTENTION: Attention = "custom"

#: Operator that reads an embedding of each precision.
_LOOKUPS = {
    "w8": "quantized_decomposed::embedding_byte.out",
    "w4": "quantized_decomposed::embedding_4bit.out",
}


class Stopwatch:
    """Seconds and peak memory of each step, for the log and the manifest.

    `cpu_seconds` tells what the step would take on a machine that does nothing else.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._start, self._cpu_start = time.perf_counter(), time.process_time()
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """End a step."""
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds[step] = round(now - self._start, 2)
        self.cpu_seconds[step] = round(cpu - self._cpu_start, 2)
        self._start, self._cpu_start = now, cpu
        self._log(f"{step}: {self.seconds[step]:.1f} s, peak memory {self.peak_bytes / 1e9:.2f} GB")

    @property
    def peak_bytes(self) -> int:
        """Most memory that this process has held so far."""
        return peak_resident_bytes()


@contextlib.contextmanager
def _lowering_conditions() -> Iterator[None]:
    """Rest collector and code writer, and drop deprecation warnings of the libraries' own code."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings(), code_when_called():
            warnings.simplefilter("ignore")
            yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


def _linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear)}


def quantize_linears(
    module: nn.Module,
    names: set[str],
    precision: Precision,
    group_size: int,
    where: str,
    int4: Mapping[str, Int4Weight] | None = None,
) -> list[str]:
    """Quantize linears of `module` in place; return a sentence for each that fell back.

    A 4-bit linear whose input is no multiple of `group_size` gets 8-bit weights instead.

    Args:
        module: holds the linears.
        names: which of them.
        precision: of all of them.
        group_size: inputs that share a scale at 4 bits.
        where: the part's name, for the sentences.
        int4: 4-bit weights that are rounded already, by name; others go to the nearest code.
    """
    if precision == "fp32" or not names:
        return []
    if precision in ("w8", "w4"):
        return [f"{where}: weight-only linears have no XNNPACK kernel; they stay fp32."]
    if precision == "fp16":
        halve_linears(module, names)
        return []
    linears = _linears(module)
    four = (
        {name for name in names if linears[name].in_features % group_size == 0}
        if precision == "w4a8"
        else set()
    )
    eight = names - four
    if four:
        config = Int8DynamicActivationIntxWeightConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined] # absent from torch's stubs
            weight_granularity=PerGroup(group_size),
        )
        quantize_(module, config, filter_fn=_chosen(four))
        for name in four & set(int4 or {}):
            _write_codes(linears[name].weight, (int4 or {})[name])
    if eight:
        config = Int8DynamicActivationIntxWeightConfig(
            weight_dtype=torch.int8, weight_granularity=PerAxis(0)
        )
        quantize_(module, config, filter_fn=_chosen(eight))
    if precision != "w4a8":
        return []
    return [
        f"{where}: {name} has {linears[name].in_features} inputs, no multiple of the group size "
        f"{group_size}; its weights are 8-bit."
        for name in sorted(eight)
    ]


def _chosen(names: set[str]) -> Callable[[nn.Module, str], bool]:
    """Return a filter of torchao that widens a linear just before it is quantized."""

    def matches(module: nn.Module, name: str) -> bool:
        if name not in names:
            return False
        widen(module)
        return True

    return matches


def _write_codes(quantized: Any, rounded: Int4Weight) -> None:
    """Put codes and scales into a weight that torchao has quantized on the same grid."""
    quantized.qdata.copy_(rounded.codes)
    quantized.scale.copy_(rounded.scales)
    quantized.zero_point.zero_()


def _quantize(
    vision: VisionEncoder,
    embedding: TokenEmbedding,
    decoder: TextDecoder | TracedDecoder,
    preset: Preset,
    plan: QuantizationPlan,
) -> list[str]:
    """Quantize the graphs in place as `preset` and `plan` say; return what fell back."""
    fallbacks: list[str] = list(plan.fallbacks)
    group = preset.group_size
    for part, precision in (("tower", preset.vision), ("projector", preset.projector)):
        if precision in ("w8a8", "w4a8"):
            linearize_pointwise(getattr(vision, part))
        names = {name for name in _linears(vision) if name.startswith(f"{part}.")}
        fallbacks += quantize_linears(vision, names, precision, group, part)
        convolutions = [m for m in getattr(vision, part).modules() if isinstance(m, nn.Conv2d)]
        if precision != "fp32" and convolutions:
            weights = sum(m.weight.numel() for m in convolutions)
            fallbacks.append(
                f"{part}: {len(convolutions)} convolutions ({weights / 1e6:.2f} M weights) stay "
                "fp32; lower precision is for linears and pointwise convolutions."
            )
    names = set(_linears(decoder))
    for kind in sorted({plan.precisions[name] for name in names}):
        chosen = {name for name in names if plan.precisions[name] == kind}
        fallbacks += quantize_linears(decoder, chosen, kind, group, "decoder", plan.int4)
    fallbacks += _quantize_embedding(embedding, plan, group)
    widen_all((decoder, embedding))
    return fallbacks


def _quantize_embedding(embedding: TokenEmbedding, plan: QuantizationPlan, group: int) -> list[str]:
    precision = plan.precisions["embedding"]
    if precision == "fp16":
        embedding.halve()
        return []
    granularities = {
        "w8": (torch.int8, PerAxis(0)),
        "w4": (torch.int4, PerGroup(group)),  # type: ignore[attr-defined]
    }
    if precision not in granularities:
        told = f"embedding: {precision} has no kernel here; it stays fp32."
        return [] if precision == "fp32" else [told]
    dtype, granularity = granularities[precision]
    widen(embedding.table)
    quantize_(
        embedding,
        IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity),
        filter_fn=lambda module, _: isinstance(module, nn.Embedding),
    )
    if precision == "w4":
        _write_codes(embedding.table.weight, plan.int4["embedding"])
    return []


def _export_graphs(
    model: VisionLanguageModel,
    vision: VisionEncoder,
    embedding: TokenEmbedding,
    decoder: TextDecoder | TracedDecoder,
    limits: Limits,
) -> dict[str, Any]:
    """Trace the three graphs."""
    size = model.image_size
    length = torch.export.Dim("length", min=1, max=limits.max_prefill)
    # The sample length must not be 1, which the exporter would take for a constant.
    sample = 2
    return {
        VISION_ENCODER: torch.export.export(vision, (torch.zeros(1, 3, size, size),), strict=False),
        TOKEN_EMBEDDING: torch.export.export(
            embedding,
            (torch.zeros(1, sample, dtype=torch.long),),
            dynamic_shapes=({1: length},),
            strict=False,
        ),
        TEXT_DECODER: torch.export.export(
            decoder,
            (torch.zeros(1, sample, model.row_width), torch.tensor([1])),
            dynamic_shapes=({1: length}, None),
            strict=False,
        ),
    }


def _decoder_partitioner() -> XnnpackPartitioner:
    """XNNPACK's partitioner, told that its delegates hold linears and elementwise operators.

    With this compile spec XNNPACK runs only the rewrite that concerns linears.
    """
    partitioner = XnnpackPartitioner()
    partitioner.delegation_spec = DelegationSpec(
        partitioner.delegation_spec.backend_id, [CompileSpec("dqlinear_partitioner", b"")]
    )
    return partitioner


def _vision_partitioners(vision: nn.Module) -> list[XnnpackPartitioner]:
    """XNNPACK's partitioners: quantized linears one by one first where convolutions stand between.

    In one delegate with convolutions XNNPACK does not see that such a linear is quantized.
    """
    everything = XnnpackPartitioner()
    if not any(isinstance(module, PointwiseLinear) for module in vision.modules()):
        return [everything]
    dynamic = ConfigPrecisionType.DYNAMIC_QUANT
    return [XnnpackPartitioner(config_precisions=dynamic, per_op_mode=True), everything]


def _stop_ids(model: VisionLanguageModel) -> list[int]:
    value = model.config.text_config.eos_token_id
    return [] if value is None else [value] if isinstance(value, int) else list(value)


def _first_id(model: VisionLanguageModel) -> dict[str, int]:
    """Return the constant `get_bos_id` of ExecuTorch's own runners, where the base has one."""
    value = model.config.text_config.bos_token_id
    return {} if value is None else {"get_bos_id": int(value)}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise HydraError(
            f"The lowered program lacks what its preset promises: {what}.",
            "Check the versions of executorch, torch and torchao against pyproject.toml.",
        )


def _check_lowered(edge: Any, decoder: TextDecoder | TracedDecoder, layers: int) -> None:
    """Raise unless the program has the fast forms that it was built for."""
    graph = edge.exported_program(TEXT_DECODER).graph_module
    expected = len(_linears(decoder))
    found = delegation.count(graph, "linear", delegated=True)
    # The norms' means are linears as well, two in each layer of a Llama and one at the end.
    if isinstance(decoder, TracedDecoder):
        expected += decoder.norms
        layers = decoder.attention_layers
    else:
        expected += 2 * layers + 1
    _require(found == expected, f"{expected} linears in delegates, found {found}")
    outside = delegation.count(graph, "choose_qparams", delegated=False)
    _require(outside == 0, f"{outside} linears are quantized outside of delegates")
    if decoder.build == "custom":
        found = delegation.count(graph, "custom_sdpa", delegated=False)
        _require(found == layers, f"{layers} custom_sdpa nodes, found {found}")


def _required_operators(program: Any) -> dict[str, list[str]]:
    """Return the kernels outside of delegates that each method needs, by full name."""
    return {
        plan.name: sorted(
            {f"{op.name}.{op.overload}" if op.overload else op.name for op in plan.operators}
        )
        for plan in program.execution_plan
    }


def write_program(
    model: VisionLanguageModel,
    preset: Preset,
    folder: Path,
    limits: Limits,
    log: Log,
    *,
    calibration: Calibration | None = None,
    model_key: str = "",
    attention: str = AUTO,
    vision_backend: str = AUTO,
) -> TargetResult:
    """Write `model.pte` into `folder`; see `Target.write`.

    Args:
        model: merged, fp32, on the CPU; quantized in place.
        preset: precision of each part.
        folder: existing folder.
        limits: cache length and longest call.
        log: gets one line for each step.
        calibration: what 4-bit parts are measured and rounded on; None: the model's own text.
        model_key: see `WriteOptions`.
        attention: "custom" needs the `llama::` kernels in the app's runtime and decodes fastest;
            "manual" needs none of them; "auto" takes `DEFAULT_ATTENTION`.
        vision_backend: "vulkan" adds the encoder as a method for it, see `vulkan`.
    """
    build = DEFAULT_ATTENTION if attention == AUTO else cast(Attention, attention)
    watch = Stopwatch(log)
    model = model.eval().requires_grad_(False)
    layers = model.config.text_config.num_hidden_layers
    with torch.no_grad(), _lowering_conditions():
        size = model.image_size
        plan = plan_decoder(model, preset, calibration, size, log, model_key)
        watch.lap("round")
        vision = VisionEncoder(model).eval()
        spell_out_tanh_gelu(vision)
        embedding = TokenEmbedding(model.language_model, model.layout).eval()
        decoder: TextDecoder | TracedDecoder = (
            TextDecoder(model.language_model, limits.max_context, build)
            if is_llama(model.language_model)
            else TracedDecoder(model, limits.max_context, build)
        ).eval()
        spell_out_tanh_gelu(decoder)
        second = vulkan.traced(vision, size) if vision_backend == "vulkan" else None
        fallbacks = _quantize(vision, embedding, decoder, preset, plan)
        watch.lap("quantise")
        programs = _export_graphs(model, vision, embedding, decoder, limits)
        backends = {}
        if second is not None:
            programs[vulkan.METHOD] = second
            backends["vulkan"] = vulkan.described(second, folder)
        watch.lap("trace")
        partitioners: dict[str, list[Any]] = {
            VISION_ENCODER: list(_vision_partitioners(vision)),
            TEXT_DECODER: [_decoder_partitioner()],
        }
        if second is not None:
            partitioners[vulkan.METHOD] = [vulkan.partitioner()]
        methods = {
            "get_max_seq_len": limits.max_prefill,
            "get_max_context_len": limits.max_context,
            "get_eos_ids": _stop_ids(model),
            **_first_id(model),
            "use_kv_cache": True,
            "enable_dynamic_shape": True,
            "use_sdpa_with_kv_cache": build == "custom",
        }
        edge = lowered(programs, partitioners, methods)
        del programs, second
        watch.lap("lower")
        if backends:
            vulkan.require_one_delegate(edge.exported_program(vulkan.METHOD).graph_module)
            log(f"{vulkan.METHOD}: one Vulkan delegate; it has not been executed")
        _check_lowered(edge, decoder, layers)
        shares = {
            name: delegation.summarize(edge.exported_program(name).graph_module)
            for name in (VISION_ENCODER, TOKEN_EMBEDDING, TEXT_DECODER)
        }
        program = edge.to_executorch(
            ExecutorchBackendConfig(
                extract_delegate_segments=True,
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
                do_quant_fusion_and_const_prop=True,
                run_reinplace_pass=build == "manual",
            )
        )
        operators = _required_operators(program.executorch_program)
        lookup = _LOOKUPS.get(plan.precisions["embedding"])
        _require(not lookup or lookup in operators[TOKEN_EMBEDDING], f"the lookup {lookup}")
        with (folder / PROGRAM).open("wb") as file:
            program.write_to_file(file)
        watch.lap("emit")
    return TargetResult(
        files={"program": PROGRAM},
        details={
            "attention": build,
            "decoder": "traced" if isinstance(decoder, TracedDecoder) else "written by hand",
            "quantisation": plan.details,
            "required_ops": sorted({name for names in operators.values() for name in names}),
            "required_ops_by_method": operators,
            "delegation": shares,
            "seconds": watch.seconds,
            "cpu_seconds": watch.cpu_seconds,
            "peak_rss_bytes": watch.peak_bytes,
            **({"vision_backends": backends} if backends else {}),
        },
        fallbacks=fallbacks,
    )
