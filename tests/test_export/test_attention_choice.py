from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hydra_export.export import export_bundle
from hydra_mobile.core.errors import HydraError


def export(merged: Path, out: Path, **choice: Any) -> None:
    inputs = [(Image.new("RGB", (4, 4)), "What is it?")]
    export_bundle(merged, target="android", preset="fp32", out=out, golden_inputs=inputs, **choice)


def test_an_unknown_attention_is_refused_with_the_nearest(tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    with pytest.raises(HydraError, match=r"(?s)`manul`.*`manual`"):
        export(tmp_path, tmp_path / "b", runtime="executorch", attention="manul")


def test_a_runtime_with_one_attention_refuses_a_choice(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    with pytest.raises(HydraError, match=r"`onnx`.*`manual`"):
        export(tmp_path, tmp_path / "b", runtime="onnx", attention="manual")
