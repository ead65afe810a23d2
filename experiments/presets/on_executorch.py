"""What 4 bits cost on ExecuTorch, by which linears keep 8, and what the attention build gives.

Exports the merged model of the quickstart several times, asks each program the same EmojiQA
questions as the eager model, and times it. Behind the choices in `hydra_mobile.bundle.presets` and
`hydra_export.targets.executorch.program`. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from hydra_export.export import export_bundle
from hydra_export.golden_samples import golden_inputs
from hydra_export.targets.executorch import target
from hydra_export.training_data import TrainingData
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.bundle.presets import PRESETS, Preset
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.executorch import ExecuTorchRuntime
from hydra_mobile.runtimes.generation import Generation, Generator
from hydra_mobile.runtimes.speed import measure_speed
from hydra_mobile.runtimes.torch import TorchRuntime

INT4 = PRESETS["int4"]
VARIANTS: dict[str, tuple[Preset, str]] = {
    "4-bit, rounded to the nearest": (
        dataclasses.replace(INT4, sensitive=None, rounding="nearest"),
        "custom",
    ),
    "4-bit, calibrated": (dataclasses.replace(INT4, sensitive=None), "custom"),
    "the same, manual attention": (dataclasses.replace(INT4, sensitive=None), "manual"),
    "some parts at 8 bits, 0.34 of fp16": (dataclasses.replace(INT4, budget=0.34), "custom"),
    "all linears 8-bit": (PRESETS["int8"], "custom"),
}


def answers(runner: Runtime, samples: list[Any], benchmark: EmojiQA) -> list[Generation]:
    generator = Generator(runner)
    return [
        generator.answer(
            benchmark.prompt(sample),
            sample.image.open,
            sample.image.key,
            max_new_tokens=benchmark.max_new_tokens,
        )
        for sample in samples
    ]


def compare(ours: list[Generation], reference: list[Generation]) -> dict[str, float]:
    cosines = []
    for one, other in zip(ours, reference, strict=True):
        a, b = one.first_logits.astype(np.float64), other.first_logits.astype(np.float64)
        cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    same = [one.text == other.text for one, other in zip(ours, reference, strict=True)]
    return {
        "same_answers": sum(same) / len(same),
        "cosine_median": statistics.median(cosines),
        "cosine_min": min(cosines),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"))
    parser.add_argument("--questions", type=int, default=96, help="per split")
    parser.add_argument("--work", type=Path, default=Path("runs/presets"))
    parser.add_argument("--out", type=Path, default=Path("experiments/presets/on_executorch.json"))
    arguments = parser.parse_args()
    quiet()
    facts = environment.collect()
    benchmark = EmojiQA(arguments.quickstart / "emojiqa")
    samples = benchmark.samples(splits=("seen", "unseen"), limit=arguments.questions)
    merged = arguments.quickstart / "run" / "merged"
    reference = answers(TorchRuntime.load(merged), samples, benchmark)
    results: dict[str, Any] = {}
    for name, (preset, attention) in VARIANTS.items():
        target.DEFAULT_ATTENTION = attention  # type: ignore[assignment]
        began = time.perf_counter()
        bundle = export_bundle(
            merged,
            target="android",
            runtime="executorch",
            preset=preset,
            out=arguments.work / name.replace(" ", "-").replace(",", ""),
            golden_inputs=golden_inputs(merged)[:1],
            limits=Limits(256, 128),
            calibrate=TrainingData(arguments.quickstart / "emojiqa" / "train_stage2.json"),
        )
        seconds = time.perf_counter() - began
        runner = ExecuTorchRuntime.load(bundle.folder)
        speed = measure_speed(runner)
        results[name] = {
            **compare(answers(runner, samples, benchmark), reference),
            "megabytes": round(bundle.size_bytes / 1e6, 1),
            "decode_rate": speed.decode_rate,
            "prefill_rate": speed.prefill_rate,
            "export_seconds": round(seconds, 1),
            "preset": preset.to_dict(),
            "attention": attention,
        }
        row = results[name]
        print(
            f"{name:<30} same answers {row['same_answers']:.1%}  cosine {row['cosine_median']:.4f} "
            f"(min {row['cosine_min']:.4f})  {row['megabytes']} MB  decode "
            f"{statistics.median(speed.decode_rate):.0f} tok/s  prefill "
            f"{statistics.median(speed.prefill_rate):.0f} tok/s  export {seconds:.0f} s",
            flush=True,
        )
        write_json(
            arguments.out,
            {
                "what": "ExecuTorch programs of one trained model against the eager model",
                "questions": len(samples),
                "environment": json.loads(dumps(vars(facts))),
                "results": results,
            },
        )


if __name__ == "__main__":
    main()
