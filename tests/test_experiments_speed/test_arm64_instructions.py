"""Counts of arm64 instructions: cut into pieces, differenced, and shown."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.inference_speed.arm64.builds import counter, require_packages
from experiments.inference_speed.arm64.counting import pieces
from experiments.inference_speed.arm64.table import largest_spread, per_unit, render
from hydra_mobile.core.errors import HydraError

PROTOCOL = {"prompts": [64], "new_tokens": 32}
#: Two writes, and 10 rounds of five instructions between them, three of which are of two kinds.
PROGRAM = """
.macro mark
  mov x8, #64
  mov x0, #1
  adr x1, _start
  mov x2, #0
  svc #0
.endm
.global _start
_start:
  mark
  mov x9, #10
again:
  sdot v0.4s, v1.16b, v2.16b
  usdot v3.2s, v4.8b, v5.4b[1]
  smmla v6.4s, v7.16b, v16.16b
  mla v6.4s, v7.4s, v16.4s
  subs x9, x9, #1
  b.ne again
  mark
  mov x8, #93
  mov x0, #0
  svc #0
"""


def _counts(number: int) -> dict[str, int]:
    return {"all": number, "dot": number // 4, "matrix": 0}


def _row(form: str, side: str, factor: int, run: int = 0, **more: int) -> dict[str, Any]:
    counts = {"prefill 64": 640_000_000, "decode 64": 640_000_000 + 32 * 5_000_000, **more}
    return {
        "form": form,
        "side": side,
        "bits": 4,
        "processor": "dotprod",
        "run": run,
        "counts": {name: _counts(factor * number) for name, number in counts.items()},
    }


@pytest.fixture
def result() -> dict[str, Any]:
    pictures = {"pixels": 700_000_000, "file": 703_000_000}
    rows = [_row("executorch-int4", "ours", 1, **pictures), _row("llama.cpp-q4_0", "llama.cpp", 2)]
    return {
        "protocol": PROTOCOL,
        "processors": {"dotprod": {"qemu": "cortex-a76"}},
        "rows": [*rows, {**_row("llama.cpp-q4_0", "llama.cpp", 2), "run": 1}],
    }


def test_each_question_gets_what_was_executed_between_two_lines() -> None:
    loading = "3 10 0 0\n5 900 40 0\n"
    answers = "7 1000 50 0\n7 1600 250 10\n7 1700 260 10\n"
    expected = [{"all": 600, "dot": 200, "matrix": 10}, {"all": 100, "dot": 10, "matrix": 0}]
    assert pieces(loading + answers, 2) == expected
    assert pieces(loading + answers + "7 1800 260 10\n", 2, behind=1) == expected


def test_a_program_that_writes_something_else_is_refused() -> None:
    with pytest.raises(HydraError, match="line for each question"):
        pieces("7 1000 0 0\n2 1200 0 0\n7 1600 0 0\n", 2)
    with pytest.raises(HydraError, match="line for each question"):
        pieces("7 1000 0 0\n7 1600 0 0\n", 2)


def test_tokens_and_pictures_are_differences_of_questions(result: dict[str, Any]) -> None:
    found = per_unit(result["rows"][0], PROTOCOL)
    assert found == {"prefill 64": 10e6, "decode 64": 5e6, "picture": 60e6, "file": 3e6}
    assert per_unit(result["rows"][0], PROTOCOL, "dot")["decode 64"] == 1.25e6
    assert per_unit(result["rows"][1], PROTOCOL).keys() == {"prefill 64", "decode 64"}


def test_tables_show_ratios_at_equal_bits_and_the_spread(result: dict[str, Any]) -> None:
    assert largest_spread(result) == 0
    result["rows"][2]["counts"]["prefill 64"]["all"] += 12_800_000
    assert largest_spread(result) == pytest.approx(0.01)
    text = render(result)
    assert "| executorch-int4 | 10.0 | 0.50 | 5.0 | 0.50 |" in text
    assert "| executorch-int4 | dotprod | 60.0 | 3.0 |" in text
    assert "| executorch-int4 | dotprod | 25.0% | 0.0% | 25.0% | 0.0% |" in text
    assert "run 2 times" in text
    assert "1.000%" in text


def test_the_counter_counts_every_instruction_once(tmp_path: Path) -> None:
    try:
        require_packages()
    except HydraError as error:
        pytest.skip(str(error))
    source, program, marks = (tmp_path / name for name in ("p.s", "p", "marks"))
    source.write_text(PROGRAM)
    compiler = ["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-march=armv8.2-a+dotprod+i8mm"]
    subprocess.run([*compiler, "-o", str(program), str(source)], check=True)
    emulator = [str(shutil.which("qemu-aarch64")), "-cpu", "max"]
    plugin = ["-plugin", f"{counter()},out={marks}"]
    subprocess.run([*emulator, *plugin, str(program)], check=True)
    # One for the loop's counter, six in each round, five for the second write.
    assert pieces(marks.read_text(), 1) == [{"all": 1 + 60 + 5, "dot": 20, "matrix": 10}]
