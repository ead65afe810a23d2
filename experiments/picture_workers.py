"""What `runtime.workers` saves: steps that read their pictures themselves against read-ahead.

A step is the features of a batch of 640 x 480 JPEG files (decoded, padded to a square, resized to
336 x 336, through a small tower) and then a wait as long as an accelerator would be busy with the
language model; the CPU has nothing to do meanwhile, as in training on a GPU. Without workers a step
costs reading plus waiting, with workers the larger of the two. Arms take turns, round after round.

    python experiments/picture_workers.py --step-ms 250 --batch 16

Run it on the machine that will train, with the step time of its GPU: the answer depends on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from hydra_mobile.models.loading import load_model
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.registry import base_folder
from hydra_mobile.models.vision.patch_conv import PatchConv
from hydra_mobile.training.features import VisionFeatures

RESULT = Path(__file__).with_name("results") / "picture_workers.json"
RECIPE = ImagePreprocessing(
    size=336,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    fit="pad",
)


def pictures_in(folder: Path, count: int) -> list[Path]:
    noise = Image.effect_noise((800, 640), 40).convert("RGB")
    paths = []
    for number in range(count):
        left, top = number * 7 % 160, number * 11 % 160
        path = folder / f"{number}.jpg"
        noise.crop((left, top, left + 640, top + 480)).save(path, quality=85)
        paths.append(path)
    return paths


def small_model() -> MobileVLMForConditionalGeneration:
    model = load_model(base_folder("tiny"))
    model.vision_tower = PatchConv(336, 14, 32)
    return model


def seconds_per_step(
    model: MobileVLMForConditionalGeneration,
    batches: list[list[Path]],
    workers: int,
    busy: float,
) -> float:
    features = VisionFeatures(model, RECIPE, use_cache=False, workers=workers)
    features.batch(batches[0][:1])
    # As in training: the next batch is announced before this one is computed.
    features.prefetch(batches[0])
    began = time.perf_counter()
    for number, batch in enumerate(batches):
        features.prefetch(batches[number + 1] if number + 1 < len(batches) else [])
        features.batch(batch)
        time.sleep(busy)
    return (time.perf_counter() - began) / len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--step-ms", type=float, default=250.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = small_model()
    rounds: list[dict[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures_in(Path(folder), arguments.batch * arguments.steps)
        batches = [paths[i :: arguments.steps] for i in range(arguments.steps)]
        for number in range(arguments.rounds):
            order = arguments.workers[number % len(arguments.workers) :]
            order += arguments.workers[: number % len(arguments.workers)]
            busy = arguments.step_ms / 1000
            rounds.append({w: seconds_per_step(model, batches, w, busy) for w in order})
    table = {}
    for workers in arguments.workers:
        ratios = [r[arguments.workers[0]] / r[workers] for r in rounds]
        table[workers] = {
            "seconds_per_step": statistics.median(r[workers] for r in rounds),
            "speed_against_first": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
        }
        print(
            f"workers {workers}: {table[workers]['seconds_per_step'] * 1000:.0f} ms/step, "
            f"{table[workers]['speed_against_first']:.2f} x ({min(ratios):.2f} - {max(ratios):.2f})"
        )
    value = {
        "batch": arguments.batch,
        "device_busy_ms": arguments.step_ms,
        "workers": table,
        "rounds": rounds,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(value, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
