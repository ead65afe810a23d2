"""The table of `experiments/inference_speed/pictures.py` from a small result with known figures."""

from __future__ import annotations

from typing import Any

from experiments.inference_speed import pictures
from experiments.inference_speed.engines import PEER


def _row(number: int, form: str, encode: float, first: float) -> dict[str, Any]:
    return {
        "round": number,
        "threads": 1,
        "form": form,
        "seconds": {"encode": [encode], "first": [first]},
    }


def test_ratios_are_of_equal_bits_and_within_a_round() -> None:
    same = {"files_bytes": 2_000_000, "rows_cosine": 0.9991, "logits_cosine": 0.5}
    value = {
        "threads": [1],
        "forms": {
            "onnx-int4": {"bits": 4, "engine": "onnx", **same},
            "llama.cpp-q8_0": {"bits": 8, "engine": PEER, **same},
            "llama.cpp-q4_0": {"bits": 4, "engine": PEER, **same},
        },
        "rows": [
            _row(0, "onnx-int4", 1.0, 2.0),
            _row(0, "llama.cpp-q4_0", 2.0, 3.0),
            _row(0, "llama.cpp-q8_0", 9.0, 9.0),
            # A slow round: the ratios stay.
            _row(1, "onnx-int4", 3.0, 6.0),
            _row(1, "llama.cpp-q4_0", 6.0, 9.0),
            _row(1, "llama.cpp-q8_0", 9.0, 9.0),
        ],
    }
    lines = pictures.render(value).splitlines()
    (ours,) = [line for line in lines if line.startswith("| onnx-int4")]
    assert [cell.strip() for cell in ours.strip("|").split("|")] == [
        "onnx-int4",
        "1",
        "2",
        "0.9991",
        "0.5000",
        "2000 [1000, 3000]",
        "2.00 [2.00, 2.00]",
        "4000 [2000, 6000]",
        "1.50 [1.50, 1.50]",
    ]


def test_every_form_has_a_peer_of_as_many_bits() -> None:
    bits = {form.bits for form in pictures.forms() if form.engine == PEER}
    assert {form.bits for form in pictures.forms()} == bits
