"""The gate on speed: what counts as the fast path, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hydra_mobile.bundle.kernel_coverage import require_fast, sentence
from hydra_mobile.core.errors import HydraError

pytest.importorskip("onnx")

from hydra_export.targets.onnx.graph_writer import MICROSOFT, Graph
from hydra_export.targets.onnx.kernel_coverage import summarize


def _facts(share: float, *off_path: dict[str, Any]) -> dict[str, Any]:
    return {
        "fast_share_of_multiply_accumulates": share,
        "most_expensive_off_path": list(off_path),
    }


def test_a_slow_method_is_refused_by_name_with_its_costliest_operator() -> None:
    slow = {
        "operator": "bmm.default",
        "count": 2,
        "multiply_accumulates": 3_000_000,
        "elements": 70_000,
    }
    methods = {"vision_encoder": _facts(1.0), "text_decoder": _facts(0.616, slow)}
    with pytest.raises(HydraError) as caught:
        require_fast(methods)
    said = str(caught.value)
    assert "`text_decoder` does 61.6%" in said
    assert "2 bmm.default (3.0 M multiply-accumulates, 0.07 M values)" in said
    assert "--min-fast-path 0.61" in said
    require_fast(methods, 0.61)


def test_a_fast_program_passes_and_says_so() -> None:
    methods = {"vision_encoder": _facts(1.0), "text_decoder": _facts(0.974)}
    require_fast(methods)
    assert sentence(methods).endswith("vision_encoder 100.0%, text_decoder 97.4%")


def _products(path: Path, slow: str) -> Path:
    """Write x [1, 16] -> a fast product of 16 x 32 -> a product of `slow`, 32 x 8."""
    graph = Graph("products")
    x = graph.input("x", np.float32, ["batch", 16])
    first = graph.constant("first", np.ones((16, 32), np.float32))
    second = graph.constant("second", np.ones((32, 8), np.float32))
    graph.output("y", np.float32, ["batch", 8])
    middle = graph.node("MatMul", [x, first], "middle")
    if slow == "Einsum":
        graph.node("Einsum", [middle, second], "y", equation="bi,ij->bj")
    else:
        graph.node(slow, [middle, second], "y")
    graph.save(path)
    return path


def test_onnx_counts_products_and_names_the_slow_ones(tmp_path: Path) -> None:
    fast = summarize(_products(tmp_path / "fast.onnx", "MatMul"), 64)
    assert fast["multiply_accumulates"] == 16 * 32 + 32 * 8
    assert fast["fast_share_of_multiply_accumulates"] == 1.0
    assert fast["most_expensive_off_path"] == []

    slow = summarize(_products(tmp_path / "slow.onnx", "Einsum"), 64)
    assert slow["fast_share_of_multiply_accumulates"] == pytest.approx(512 / 768, abs=1e-4)
    assert slow["most_expensive_off_path"][0]["operator"] == "Einsum"
    assert slow["nodes"] == 2
    assert slow["fast_share_of_nodes"] == 0.5


def test_onnx_counts_fused_attention_over_a_full_cache(tmp_path: Path) -> None:
    graph = Graph("attention")
    qkv = graph.input("qkv", np.float32, ["batch", "n", (4 + 2 * 2) * 8])
    weight = graph.constant("weight", np.ones((32, 5), np.float32))
    graph.output("y", np.float32, ["batch", "n", 5])
    heads = graph.node(
        "GroupQueryAttention",
        [qkv, "", "", "", "", "", ""],
        "heads",
        domain=MICROSOFT,
        num_heads=4,
        kv_num_heads=2,
    )
    graph.node("MatMul", [heads, weight], "y")
    graph.save(tmp_path / "attention.onnx")
    facts = summarize(tmp_path / "attention.onnx", 100)
    assert facts["multiply_accumulates"] == 2 * 4 * 8 * 100 + 32 * 5
