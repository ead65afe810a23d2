"""The published 1.7B at full width, random weights: a HyDRA step, merge and forward on a CPU."""

from __future__ import annotations

import shutil

import pytest

from experiments.memory import full_width

UNIFORM_128 = 121_110_528


@pytest.mark.slow
def test_the_whole_way_of_the_1_7b_fits_a_small_machine(tmp_path):
    if shutil.disk_usage(tmp_path).free < 15 * 2**30:
        pytest.skip("needs 15 GiB of disk")
    result = full_width.run("mobilevlm-1.7b", tmp_path)
    trained = result["parameters"]
    assert 0 < UNIFORM_128 - trained["lora"] < 61_440
    assert trained["budget"] == UNIFORM_128
    assert trained["projector"] == 18_936_832
    # Seven linears in each of 24 layers; the tower and the rest stay.
    assert result["merged_linears"] == 168
    assert result["untouched_tensors"] > 400
    assert all(part.get("peak_gib", 0.0) < 16 for part in result["parts"].values())
