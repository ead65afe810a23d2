"""Tables of `experiments/inference_speed` from a small result with known figures."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.inference_speed.engines import ENGINES, FORMS, PEER, REFERENCE
from experiments.inference_speed.run import cells, chosen
from experiments.inference_speed.table import peer_of, rate, ratio, render, render_operators, spread
from hydra_mobile.core.errors import HydraError


def _facts(bits: int, engine: str, check: dict[str, Any]) -> dict[str, Any]:
    return {
        "bits": bits,
        "engine": engine,
        "files_bytes": 50_000_000,
        "bits_per_weight": 4.0,
        "note": "",
        "check": check,
    }


def _row(number: int, form: str, prefill: float, decode: float, **more: Any) -> dict[str, Any]:
    seconds = {"load": [0.5], "prefill 64": [prefill] * 2, "decode 64": [decode] * 2, **more}
    sizes = {"peak_bytes": 3e8, "imports_bytes": 1e8}
    return {"round": number, "threads": 1, "form": form, "seconds": seconds, **sizes}


@pytest.fixture
def result() -> dict[str, Any]:
    check = {"equal_tokens": 30, "of_tokens": 32, "cosine": 0.98}
    check |= {"max_difference": 2.5, "largest_logit": 30.0}
    picture = {"encode": [0.02], "first token": [0.1]}
    return {
        "protocol": {"prompts": [64], "new_tokens": 128, "threads": [1], "rounds": 2},
        "forms": {
            "torch-fp32": _facts(32, "torch", {}),
            "onnx-int4": _facts(4, "onnx", check),
            "llama.cpp-q4_0": _facts(4, "llama.cpp", check),
        },
        "skipped": {"genai-int4": "the package is not installed"},
        "rows": [
            _row(0, "torch-fp32", 0.4, 12.8, encode=[0.04], **{"first token": [0.2]}),
            _row(0, "onnx-int4", 0.2, 2.56, **picture),
            _row(0, "llama.cpp-q4_0", 0.1, 1.28),
            # Everything takes twice as long in the second round; ratios must not see it.
            _row(1, "torch-fp32", 0.8, 25.6, encode=[0.04], **{"first token": [0.2]}),
            _row(1, "onnx-int4", 0.4, 5.12, **picture),
            _row(1, "llama.cpp-q4_0", 0.2, 2.56),
        ],
    }


def test_ratios_are_taken_within_a_round(result: dict[str, Any]) -> None:
    found = ratio(result, "onnx-int4", "torch-fp32", 1, lambda r: rate(r, "decode", 64, 128))
    assert found == pytest.approx(5.0)
    # A peer that failed in one round is compared in the other alone.
    result["rows"].pop()
    found = ratio(result, "onnx-int4", "llama.cpp-q4_0", 1, lambda r: rate(r, "decode", 64, 128))
    assert found == pytest.approx(0.5)


def test_the_peer_has_the_same_bits(result: dict[str, Any]) -> None:
    assert peer_of(result, "onnx-int4") == "llama.cpp-q4_0"
    assert peer_of(result, "torch-fp32") is None


def test_the_tables_show_rates_ratios_and_what_is_missing(result: dict[str, Any]) -> None:
    lines = render(result).splitlines()
    (ours,) = [line for line in lines if line.startswith("| onnx-int4 | 240 ")]
    cells = [cell.strip() for cell in ours.strip("|").split("|")]
    # 64 tokens in 0.2 and 0.4 s, 128 in 2.56 and 5.12 s: medians of 320, 160 and of 50, 25.
    assert cells[1:] == [
        "240 [200, 280]",
        "2.00",
        "0.50",
        "38 [31, 44]",
        "5.00",
        "0.50",
        "300",
        "2",
    ]
    assert any("30/32 | 0.9800 | 2.5 of 30" in line for line in lines)
    assert "| onnx-int4 | 20.0 [20.0, 20.0] | 100.0 [100.0, 100.0] | 2.00 |" in lines
    assert any(line.startswith("- genai-int4") for line in lines)
    assert not any(line.startswith("| llama.cpp-q4_0 | 20") for line in lines)


def test_a_single_round_has_no_spread() -> None:
    assert spread([3.0]) == (3.0, 3.0, 3.0)


def test_operators_are_shown_slowest_first_and_named() -> None:
    rows = [
        {"phase": "decode", "operator": "MatMulNBits", "ms": 8.0, "calls": 211, "share": 0.8},
        {"phase": "decode", "operator": "Mul", "ms": 2.0, "calls": 60, "share": 0.2},
    ]
    text = render_operators(
        {"forms": {"onnx-int4": {"operators": rows, "tokens": 256}}, "skipped": {"x": "none"}}
    )
    assert "onnx-int4, decode, one token: 10.00 ms in operators" in text
    assert "| MatMulNBits | 8.000 | 80.0% | 211 |" in text
    assert "- x: none" in text


def test_rounds_are_interleaved_and_begin_with_another_engine_each() -> None:
    order = list(cells(["a", "b", "c"], [1, 2], 2))
    assert order[:3] == [(0, 1, "a"), (0, 1, "b"), (0, 1, "c")]
    assert order[6:9] == [(1, 1, "b"), (1, 1, "c"), (1, 1, "a")]
    assert len(order) == len(set(order)) == 12


def test_only_takes_engines_and_forms_and_keeps_the_reference() -> None:
    names = [form.name for form in chosen("llama.cpp,onnx-int4")]
    assert names == [
        "torch-fp32",
        "llama.cpp-f32",
        "llama.cpp-q8_0",
        "onnx-int4",
        "llama.cpp-q4_0",
    ]
    with pytest.raises(HydraError, match="`lama"):
        chosen("lama.cpp")


def test_every_form_has_an_engine_and_a_peer() -> None:
    assert {form.engine for form in FORMS} == set(ENGINES)
    assert FORMS[0].name == REFERENCE
    peers = {form.bits for form in FORMS if form.engine == PEER}
    assert {form.bits for form in FORMS} == peers
