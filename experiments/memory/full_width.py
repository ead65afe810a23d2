"""MobileVLM at its real width on a CPU, random weights: one HyDRA step, merge, forward.

What it shows is that nothing in the way from a base folder to a merged one depends on small
models, and what memory each part of the way takes; random weights say nothing about answers.
Each part runs in a process of its own through the command line, so that its peak is its own.

    python -m experiments.memory.full_width --base mobilevlm-1.7b --work /somewhere/with/15/GB

Writes the table as JSON beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.safetensors_io import Form
from hydra_mobile.estimation.model import empty_model
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.published import published_config
from hydra_mobile.models.registry import fetch
from hydra_mobile.models.save import write_streamed_base
from hydra_mobile.models.templates import template_named
from hydra_mobile.reporting import environment

_RESULT = Path(__file__).with_name("full_width.json")
_CONFIG = "mobilevlm-1.7b"
_SAMPLE = "The picture shows a bridge over a river and three people who look at it. "


def random_base(name: str, folder: Path) -> None:
    """Write a base of a published model's sizes with random fp16 weights, a tensor at a time."""
    config = published_config(name)
    shapes = empty_model(config).state_dict()
    generator = torch.Generator().manual_seed(0)

    def read(tensor_name: str) -> Tensor:
        shape = shapes[tensor_name].shape
        if len(shape) == 1:
            # Norms begin at one; what is drawn for biases is small.
            fill = 0.0 if tensor_name.endswith("bias") else 1.0
            return torch.full(shape, fill, dtype=torch.float16)
        return torch.empty(shape).normal_(0, 0.02, generator=generator).half()

    forms = {n: Form(torch.float16, tuple(t.shape)) for n, t in shapes.items()}
    tiny = MobileVLMProcessor.from_pretrained(fetch("tiny", lambda line: None))
    clip = ImagePreprocessing(
        size=336,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )
    processor = MobileVLMProcessor(
        tiny.tokenizer,
        template_named("chatml"),
        clip,
        image_token_id=config.image_token_id,
        num_image_tokens=config.num_image_tokens,
    )
    with folder_atomically(folder, mark=None) as temporary:
        write_streamed_base(
            temporary, f"{name}-random", config, processor, forms, read, lambda line: None
        )


def write_data(folder: Path) -> Path:
    """Write two pictures and a conversation about each as LLaVA json."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(2):
        Image.new("RGB", (400, 300), (90, 140 - 50 * index, 60)).save(folder / f"{index}.png")
        turns = [
            {"from": "human", "value": "<image>\nWhat is in the picture?"},
            {"from": "gpt", "value": _SAMPLE},
        ]
        records.append({"id": str(index), "image": f"{index}.png", "conversations": turns})
    file = folder / "data.json"
    file.write_text(dumps(records))
    return file


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds and the largest resident set of its process, GiB."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}.")
    peak = usage.ru_maxrss * 1024 / 2**30
    return {"seconds": round(time.monotonic() - began, 1), "peak_gib": round(peak, 2)}


def run(name: str, work: Path) -> dict[str, Any]:
    """Go the whole way; return seconds and peaks by part, and what the trainer counted."""
    base, out, merged = work / "base", work / "run", work / "merged"
    began = time.monotonic()
    random_base(name, base)
    parts = {"write the base": {"seconds": round(time.monotonic() - began, 1)}}
    python = [sys.executable, "-W", "ignore", "-m", "hydra_mobile"]
    train = [
        *python,
        "train",
        *("--config", str(_CONFIG)),
        f"base={base}",
        f"output={out}",
        "data.stage1=",
        f"data.stage2={write_data(work / 'data')}",
        "data.images=",
        "stage2.template=chatml",
        "stage2.steps=1",
        "stage2.batch_size=1",
        "stage2.accumulation=1",
        "ranks.policy=coarse_fine",
        "ranks.importance=calibration",
        "ranks.calibration_batches=1",
        "runtime.workers=0",
    ]
    parts["one HyDRA step"] = measured(train)
    parts["merge"] = measured([*python, "merge", str(out), "--out", str(merged)])
    question = "What is in the picture?"
    picture = str(work / "data" / "0.png")
    chat = [*python, "chat", str(merged), "--image", picture, "--ask", question]
    parts["forward and an answer, fp32"] = measured([*chat, "--new-tokens", "3"])
    summary = json.loads((out / "summary.json").read_text())
    merge = json.loads((merged / "merge.json").read_text())
    return {
        "base": name,
        "parts": parts,
        "parameters": summary["parameters"],
        "precision": summary["precision"],
        "merged_linears": len(merge["merged"]),
        "untouched_tensors": merge["untouched"],
        "environment": vars(environment.collect()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="mobilevlm-1.7b")
    parser.add_argument("--work", type=Path, help="folder with 15 GB free; a temporary one")
    parser.add_argument("--out", type=Path, default=_RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        result = run(arguments.base, Path(work))
    for part, facts in result["parts"].items():
        print(f"{part:<30}{facts['seconds']:>8.1f} s{facts.get('peak_gib', 0.0):>8.2f} GiB")
    write_json(arguments.out, result)
    print(arguments.out)


if __name__ == "__main__":
    main()
