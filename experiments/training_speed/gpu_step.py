"""MobileVLM-1.7B's stage II on a GPU: tokens per second and peak memory of HyDRA and plain LoRA.

Random weights at full width, random pictures, conversations as long as LLaVA's; policies take turns
in one process each, round after round, on the same batches. `uniform` is plain peft LoRA of rank
128, bit for bit (tests/test_training/test_dynamic.py). Probes and events are in HyDRA's time.

    python -m experiments.training_speed.gpu_step --rounds 3 --steps 60 --batch-size 16

Needs a CUDA device with bf16; where there is none, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from experiments.memory.full_width import random_base
from experiments.training_speed.step_time import show, summarize
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.reporting import environment

_RESULT = Path(__file__).with_name("gpu_step.json")
_CONFIG = "mobilevlm-1.7b"
_WORDS = [
    "bridge",
    "river",
    "people",
    "look",
    "stand",
    "red",
    "small",
    "large",
    "two",
    "left",
    "right",
    "near",
    "with",
    "and",
    "of",
    "the",
]


def write_data(folder: Path, records: int, words: int) -> Path:
    """Write conversations of about `words` words, a picture of noise each."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    pixels = np.random.default_rng(0)
    made = []
    for index in range(records):
        noise = pixels.integers(0, 256, (480, 640, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.jpg")
        text = " ".join(rng.choices(_WORDS, k=rng.randint(words // 2, words * 3 // 2)))
        turns = [
            {"from": "human", "value": "<image>\nWhat is in the picture?"},
            {"from": "gpt", "value": text},
        ]
        made.append({"id": str(index), "image": f"{index}.jpg", "conversations": turns})
    file = folder / "data.json"
    file.write_text(dumps(made))
    return file


def tokens_per_conversation(base: Path, file: Path) -> float:
    """Return the mean length of the conversations, image tokens included."""
    from hydra_mobile.training.data.token_cache import open_rows

    processor = MobileVLMProcessor.from_pretrained(base)
    packing: dict[str, Any] = {"share_prefix": False, "questions_per_row": 1, "max_length": 2048}
    return float(open_rows(file, None, processor, over_length="truncate", **packing).lengths.mean())


def one_run(base: Path, file: Path, policy: str, steps: int, batch_size: int) -> dict[str, float]:
    """Train in a fresh process; return seconds per step, first steps left out, and the peak."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "train"]
        command += ["--config", str(_CONFIG), f"base={base}", f"output={run}"]
        command += ["data.stage1=", f"data.stage2={file}", "stage2.template=chatml"]
        command += [f"stage2.steps={steps}", f"stage2.batch_size={batch_size}"]
        command += ["runtime.log_every=1", "runtime.checkpoint_every=0", f"ranks.policy={policy}"]
        # A probe of a run this short: 6% of its steps, as in a whole one.
        command += ["ranks.dynamic.candidates=1", f"ranks.dynamic.probe_steps={steps * 6 // 100}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((run / "summary.json").read_text())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        seconds = [line["seconds"] for line in lines if line["stage"] == "stage2"]
        single = sorted(b - a for a, b in itertools.pairwise(seconds))
        return {
            "seconds_per_step": (seconds[-1] - seconds[1]) / (len(seconds) - 2),
            "median_step": single[len(single) // 2],
            "probe_steps": summary["probes"].get("probe_steps", 0),
            "loss_of_last_quarter": lines[-1]["loss"],
            "peak_mib": summary["peak_memory_bytes"] / 2**20,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="mobilevlm-1.7b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--words", type=int, default=250)
    parser.add_argument("--out", type=Path, default=_RESULT)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("No CUDA device here: nothing was measured.")
    with tempfile.TemporaryDirectory() as work:
        base = Path(work) / "base"
        random_base(arguments.base, base)
        file = write_data(Path(work) / "data", 8 * arguments.batch_size, arguments.words)
        rounds = [
            {
                policy: one_run(base, file, policy, arguments.steps, arguments.batch_size)
                for policy in ("uniform", "hydra")
            }
            for _ in range(arguments.rounds)
        ]
        tokens = tokens_per_conversation(base, file) * arguments.batch_size
    table = summarize(rounds)
    show(table)
    for row in table.values():
        row["tokens_per_second"] = tokens / row["seconds_per_step"]
    write_json(
        arguments.out,
        {
            "base": arguments.base,
            "tokens_per_step": tokens,
            "rounds": rounds,
            "table": table,
            "environment": vars(environment.collect()),
        },
    )
    print(arguments.out)


if __name__ == "__main__":
    main()
