"""MobileVLM's own parts through both exporters, in fp32, held to the exact tolerance."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_bases import write_clip_base

from hydra_export.export import export_bundle
from hydra_export.targets import Limits
from hydra_mobile.parity.suite import run_suite


@pytest.mark.parametrize("projector", [pytest.param("ldpnet", marks=pytest.mark.slow), "ldpnetv2"])
@pytest.mark.parametrize("runtime", ["onnx", pytest.param("executorch", marks=pytest.mark.slow)])
def test_exported_model_answers_as_the_merged_one(
    tiny_base: Path, golden_inputs, tmp_path: Path, projector: str, runtime: str
) -> None:
    pytest.importorskip(
        "onnxruntime" if runtime == "onnx" else "executorch", reason=f"needs the extra [{runtime}]"
    )
    bundle = export_bundle(
        write_clip_base(tiny_base, projector, tmp_path / "merged"),
        target="android",
        runtime=runtime,
        preset="fp32",
        out=tmp_path / "bundle",
        golden_inputs=golden_inputs,
        limits=Limits(max_context=80, max_prefill=16),
    )
    result = run_suite(bundle.folder)
    assert result.passed, result.table()
    assert result.comparisons[0].agreement == 1.0
    assert all(case.image_difference < 1e-3 for case in result.comparisons[0].cases)
