"""MobileVLM's own parts through CoreML, in fp32, held to the exact tolerance."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_bases import write_clip_base

from hydra_export.export import export_bundle
from hydra_export.targets import Limits
from hydra_mobile.parity.suite import run_suite

pytest.importorskip("coremltools", reason="needs the extra [coreml]")

pytestmark = pytest.mark.coreml


@pytest.mark.slow  # an export and an interpreter: 18 s each
@pytest.mark.parametrize("projector", ["ldpnet", "ldpnetv2"])
def test_interpreted_model_answers_as_the_merged_one(
    tiny_base: Path, golden_inputs, tmp_path: Path, projector: str
) -> None:
    bundle = export_bundle(
        write_clip_base(tiny_base, projector, tmp_path / "merged"),
        target="ios",
        runtime=None,
        preset="fp32",
        out=tmp_path / "bundle",
        golden_inputs=golden_inputs,
        limits=Limits(max_context=80, max_prefill=16),
    )
    facts = bundle.manifest["details"]["weights"]["vision_encoder"]
    assert facts["compared"] == facts["exact"] > 20
    result = run_suite(bundle.folder)
    assert result.passed, result.table()
