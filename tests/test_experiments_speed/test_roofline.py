"""Bytes and operations of a call, counted by hand for a small shape."""

from __future__ import annotations

import pytest

from experiments.inference_speed.roofline import Shape, render, roof_seconds, rows

#: Two layers of 3 x 2 weights, a head of 5 x 2; 2 values of a query, 4 of keys and values.
SHAPE = Shape(linears=12, head=10, layers=2, hidden=2, cached=4)
PEAKS = {"read": {"0": 100.0}, "fp32": 50.0, "int8": 200.0, "amx int8": 800.0}


def test_a_token_reads_each_weight_with_its_scale_and_what_is_cached() -> None:
    assert SHAPE.weight_bytes(32) == 88
    assert SHAPE.weight_bytes(4) == pytest.approx(22 * 4.5 / 8)
    # Three tokens before, and its own.
    assert SHAPE.bytes(32, 1, 3, wide=2) == 88 + 2 * 4 * 2 * 4


def test_a_prompt_computes_its_head_once_and_attends_to_what_is_before() -> None:
    alone = SHAPE.operations(1, 0)
    assert alone == 2 * 12 + 2 * 10 + 4 * 2 * 2
    # Of three tokens the first sees one, the second two, the last three.
    assert SHAPE.operations(3, 0) == 2 * 12 * 3 + 2 * 10 + 4 * 2 * 2 * 6
    assert SHAPE.operations(1, 2) == alone + 4 * 2 * 2 * 2


def test_the_roof_of_rounded_weights_is_the_fastest_int8() -> None:
    assert roof_seconds(PEAKS, SHAPE, 32, 88, 100) == (0.88, 2.0)
    assert roof_seconds(PEAKS, SHAPE, 4, 88, 100) == (0.88, 0.125)


def test_a_rate_at_the_roof_is_all_of_it() -> None:
    step = SHAPE.bytes(4, 1, 1 + 2 // 2, wide=2) / 100
    prompt = SHAPE.bytes(4, 1, 0, wide=2) / 100
    seconds = {"decode 1": [2 * step], "prefill 1": [2 * prompt]}
    result = {
        "protocol": {"prompts": [1], "new_tokens": 2, "threads": [1]},
        "forms": {"llama.cpp-q4_0": {"bits": 4, "engine": "llama.cpp"}},
        "rows": [{"form": "llama.cpp-q4_0", "threads": 1, "seconds": seconds}],
    }
    decode, prefill = rows(result, SHAPE, {"1": PEAKS})
    assert decode["limit"] == prefill["limit"] == "memory"
    assert decode["share"] == pytest.approx(1.0)
    assert prefill["share"] == pytest.approx(0.5)
    text = render({"peaks": {"1": PEAKS}, "rows": [decode, prefill]})
    assert "| llama.cpp-q4_0 | 0 | 100% of " in text
