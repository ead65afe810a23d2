from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.measurement.plan import Plan
from hydra_mobile.measurement.run import bench, read_result
from hydra_mobile.measurement.table import comparison, rows_of
from hydra_mobile.runtimes.model_ref import model_at


def result(rate: list[float], threads: int = 2) -> dict[str, Any]:
    process = {
        "load_seconds": 0.5,
        "cold": True,
        "peak_memory_bytes": 100_000_000,
        "prompt_tokens": 64,
        "encode": [0.01, 0.02],
        "prefill": [0.1, 0.1],
        "first_token": [0.11, 0.12],
        "prefill_rate": [640.0, 640.0],
        "decode_rate": rate,
    }
    row = {
        "name": "ExecuTorch int4",
        "runner": "native",
        "preset": "int4",
        "size_bytes": 1000,
        "processes": [process],
    }
    return {
        "schema": 1,
        "environment": {},
        "device": "native",
        "plan": Plan(threads=threads).to_dict(),
        "rows": [row],
    }


def test_medians_and_quartiles_are_in_the_table() -> None:
    cells = dict(rows_of(result([40.0, 50.0, 60.0])))
    assert cells["decode tok/s"] == "50.0 [45.0, 55.0]"
    assert cells["encode ms"] == "15.0 [12.5, 17.5]"
    assert cells["load warm s"] == "-"


def test_a_ratio_says_whether_it_is_within_the_spread() -> None:
    (line,) = comparison(result([90.0, 100.0, 110.0]), result([40.0, 50.0, 60.0]))
    assert "decode 2.00x," in line
    assert "encode 1.00x (within spread)" in line


def test_other_threads_and_absent_rows_are_told() -> None:
    earlier = result([1.0, 1.0], threads=1)
    earlier["rows"] = []
    assert list(comparison(result([1.0, 1.0]), earlier)) == [
        "does not compare: threads is 2, was 1",
        "ExecuTorch int4: not in the earlier result",
    ]


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"rows": []}))
    with pytest.raises(HydraError, match="result"):
        read_result(file)


def test_a_plan_without_decoding_is_refused() -> None:
    with pytest.raises(ConfigError, match="--new-tokens"):
        Plan(new_tokens=1)


def test_an_emulator_is_not_timed() -> None:
    with pytest.raises(HydraError, match="say nothing"):
        bench([], Plan(), "emulator")


@pytest.mark.slow
def test_the_tiny_base_is_measured_in_processes_of_its_own(tiny_base: Path) -> None:
    plan = Plan(prompt_tokens=60, new_tokens=3, repeats=2, warmup=1, rounds=1, threads=1)
    measured = bench([model_at(str(tiny_base))], plan, "host")
    (row,) = measured["rows"]
    (process,) = row["processes"]
    assert process["prompt_tokens"] == 60
    assert len(process["decode_rate"]) == 2
    assert process["first_token"][0] > process["encode"][0] > 0
    assert process["cold"] is True
    assert process["peak_memory_bytes"] > 1e7
