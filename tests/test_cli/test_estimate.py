"""`hydra-mobile estimate` as people call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "hydra_mobile" / "configs"


TINY = ("estimate", "base=tiny", "ranks.r_ref=8", "ranks.r_min=2", "--tokens", 64)


def test_it_prints_counts_memory_steps_and_settings(run_verb, tiny_base):
    code, out, err = run_verb(
        *TINY, "--gpus", 2, "--gpu-memory", 8, "--samples", 100, "--samples-per-second", 5,
    )  # fmt: skip
    assert code == 0, err
    for words in (
        "adapters", "optimizer moments", "gradient averaging",
        "100 conversations (as given)", "global batch 16 = 2 GPUs x 8 x 1; 7 steps",
        "about 22 s at 5.00 conversations", "fits, now", "Not measured on a GPU",
    ):  # fmt: skip
        assert words in " ".join(out.split())
    code, out, err = run_verb(
        *TINY, "--gpus", 2, "--gpu-memory", 8, "--samples", 100, "--samples-per-second", 5,
        "--json",
    )  # fmt: skip
    plan = json.loads(out)["result"]
    assert (plan["schema"], plan["gpu_numbers_measured"]) == (1, False)
    stage = plan["stages"][0]
    parts = {k: v for k, v in stage["memory"].items() if k not in ("total", "needed")}
    assert stage["memory"]["total"] == sum(parts.values())
    assert stage["steps"] == 7
    # 5 per rank and layer: 64 + 64, 64 + 32, ... ; rank 8, two layers.
    cost = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 160)
    assert plan["parameters"]["adapters"]["stage2"] == 8 * 2 * cost


def test_one_gpu_shares_nothing(run_verb, tiny_base):
    code, out, err = run_verb(*TINY, "--gpus", 1, "--gpu-memory", 8)
    assert code == 0, err
    assert "policy hydra" in err
    assert "1 GPU" in err
    assert "gradient averaging " not in out
    assert "fsdp " not in out
    assert all(option in out for option in ("--samples-per-second", "--measured"))


@pytest.mark.parametrize(
    ("arguments", "needles"),
    [
        (["base=nowhere"], ("`nowhere`", "base=mobilevlm-1.7b")),
        (["base=tiny", "--measured", "nowhere"], ("metrics.jsonl is missing",)),
        (["base=tiny", "--samples-per-second", "-2"], ("--samples-per-second", "-2")),
        (["--set", "stage2.batch_sise=2"], ("stage2.batch_sise", "stage2.batch_size")),
    ],
)
def test_mistakes_are_named(run_verb, tiny_base, arguments, needles):
    code, _, err = run_verb("estimate", *arguments, "--gpus", 1, "--gpu-memory", 8)
    assert code == 2
    assert all(needle in err for needle in needles)
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilevlm-1.7b", "mobilevlm-3b-full"])
def test_a_published_recipe_takes_a_minute_and_no_memory(name):
    """Weights, gradients and moments of these runs alone have 6 and 44 GB."""
    code = (
        "import sys; from hydra_mobile.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "from hydra_mobile.core.memory import peak_resident_bytes\n"
        "print('peak', peak_resident_bytes()); sys.exit(code or 0)"
    )
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-c", code, "estimate", "--config", CONFIGS / f"{name}.yaml",
            "--gpus", "8", "--gpu-memory", "80", "--json",
        ],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 240
    assert int(done.stdout.split("peak ")[-1]) < 2e9
    plan = json.loads(done.stdout.rpartition("peak ")[0])["result"]
    assert [stage["steps"] for stage in plan["stages"]] == [2181, 5198]
    assert all(stage["fits"] for stage in plan["stages"])
