"""A second vision encoder for hardware that is not here: its structure, and its portable form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from hydra_export.export import export_bundle
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes import runtime_class


def export(merged: Path, out: Path, runtime: str, backend: str, **choice: Any) -> Bundle:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (24, 40, 3), np.uint8)) for _ in range(2)]
    return export_bundle(
        merged,
        target="android",
        runtime=runtime,
        out=out,
        golden_inputs=[(picture, "What is it?") for picture in pictures],
        limits=Limits(max_context=64, max_prefill=32),
        vision_backend=backend,
        **choice,
    )


def facts_of(bundle: Bundle, backend: str) -> dict[str, Any]:
    facts: dict[str, Any] = bundle.manifest["details"]["vision_backends"][backend]
    assert facts["executed"] is False
    return facts


def answers_as_without(bundle: Bundle) -> None:
    """The bundle's own encoder is still there and computes what the model does."""
    vectors = load_file(bundle.folder / "golden.safetensors")
    runner = runtime_class(bundle.runtime).load(bundle, threads=1)
    found = runner.encode_image(vectors["0.pixels"][None])
    np.testing.assert_allclose(found[0], vectors["0.image"], atol=1e-3)


def test_the_manifest_says_truly_why_vulkan_was_not_executed() -> None:
    """A package that has the backend is one to run the method with, and to say what came of it."""
    runtime = pytest.importorskip("executorch.runtime", reason="needs the extra [executorch]")
    from hydra_export.targets.executorch import vulkan

    assert vulkan.BACKEND in vulkan.NOT_EXECUTED
    assert not runtime.Runtime.get().backend_registry.is_available(vulkan.BACKEND)


@pytest.mark.slow  # an export with one more lowering
def test_vulkan_is_one_delegate_in_a_method_of_its_own(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    from executorch.exir._serialize._program import deserialize_pte_binary

    bundle = export(tiny_base, tmp_path / "b", "executorch", "vulkan", preset="fp32")
    facts = facts_of(bundle, "vulkan")
    assert "VulkanBackend" in facts["why_not"]
    assert facts["cosine"] == pytest.approx(1, abs=1e-6)
    assert facts["largest_difference"] < 1e-4
    program = deserialize_pte_binary(bundle.file("program").read_bytes()).program
    plans = {plan.name: plan for plan in program.execution_plan}
    assert {"vision_encoder", "token_embedding", "text_decoder"} < plans.keys()
    plan = plans[facts["method"]]
    assert [delegate.id for delegate in plan.delegates] == ["VulkanBackend"]
    assert plan.operators == []
    others = [plan for name, plan in plans.items() if name != facts["method"]]
    assert "VulkanBackend" not in {d.id for plan in others for d in plan.delegates}
    answers_as_without(bundle)


def test_the_npu_encoder_is_static_and_quantized_throughout(
    tiny_base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    import onnx

    bundle = export(tiny_base, tmp_path / "b", "onnx", "npu", preset="fp32")
    facts = facts_of(bundle, "npu")
    assert facts["cosine"] > 0.98
    assert bundle.file("vision_encoder_npu").name == facts["file"]
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.folder / facts["file"]))
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for value in values:
        sizes = value.type.tensor_type.shape.dim
        assert all(size.HasField("dim_value") for size in sizes), value.name
    made_by = {name: node for node in model.graph.node for name in node.output}
    weighted = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert weighted
    for node in weighted:
        for name in node.input[:2]:
            assert made_by[name].op_type == "DequantizeLinear", (node.name, name)
        users = [user for user in model.graph.node if node.output[0] in user.input]
        assert {user.op_type for user in users} <= {"QuantizeLinear", "Relu", "Clip"}, node.name
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    sources = {made_by[name].input[0] for node in weighted for name in node.input[:2]}
    assert {kinds[name] for name in sources if name in kinds} == {onnx.TensorProto.INT8}
    answers_as_without(bundle)


def test_backends_of_other_runtimes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    for runtime, backend in (("onnx", "vulkan"), ("executorch", "npu"), ("onnx", "npus")):
        with pytest.raises(HydraError, match=f"`{runtime}` has no vision backend `{backend}`"):
            export(tmp_path, tmp_path / "b", runtime, backend)
