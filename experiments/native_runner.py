"""The native runner beside the Python runtime, on the same programs in the same run.

Exports the random "middle" model of `footprint.py` with `--attention manual` for each preset, and
runs every bundle on the host in Python, natively, and on an emulated arm64. Python and native take
turns, so that both meet the same machine. Speeds of the emulator are not measured: they say
nothing. Prints a line for each preset and writes JSON.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from footprint import LIMITS, build

from hydra_export.bundle import MANIFEST, Bundle
from hydra_export.export import export_bundle
from hydra_export.footprint import footprint_of_manifest
from hydra_mobile.evaluation.generation import Generation, Generator
from hydra_mobile.evaluation.golden_inputs import golden_inputs
from hydra_mobile.evaluation.on_device import runner_on
from hydra_mobile.evaluation.runners import runner_class
from hydra_mobile.evaluation.runners.base import Runner
from hydra_mobile.evaluation.runners.native import EmulatorRunner, NativeRunner
from hydra_mobile.evaluation.speed import measure_speed
from hydra_mobile.files import write_json
from hydra_mobile.quiet import quiet
from hydra_mobile.reporting import environment

_TURNS = 3


def answers(runner: Runner, bundle: Bundle) -> list[Generation]:
    """Answer three questions about each golden picture."""
    generator = Generator(runner)
    questions = ("What is in the image?", "Is it red?", "Which colour is it?")
    return [
        generator.answer(question, lambda p=picture: p, str(index), stop=False)
        for index, (picture, _) in enumerate(golden_inputs(bundle.folder, None))
        for question in questions
    ]


def agreement(ours: list[Generation], theirs: list[Generation]) -> dict[str, Any]:
    """Compare answers with the Python runtime's."""
    pairs = list(zip(ours, theirs, strict=True))
    tokens = [a == b for x, y in pairs for a, b in zip(x.ids, y.ids, strict=True)]
    differences = [float(np.abs(x.first_logits - y.first_logits).max()) for x, y in pairs]
    return {
        "answers": len(pairs),
        "equal_answers": sum(x.ids == y.ids for x, y in pairs),
        "token_agreement": round(sum(tokens) / len(tokens), 4),
        "first_logits_max_difference": max(differences),
        "first_logits_scale": max(float(np.abs(y.first_logits).max()) for _, y in pairs),
    }


def compare(folder: Path, threads: int) -> dict[str, Any]:
    """Run one bundle in all three ways."""
    bundle = Bundle.open(folder)
    python = runner_class("executorch").load(folder, threads=threads)
    native = NativeRunner.load(folder, threads=threads)
    speeds: dict[str, dict[str, list[float]]] = {"python": {}, "native": {}}
    for _ in range(_TURNS):
        for name, runner in (("python", python), ("native", native)):
            for measure, values in measure_speed(runner).to_dict().items():
                speeds[name].setdefault(measure, []).extend(values)
    medians = {
        name: {measure: statistics.median(values) for measure, values in measures.items()}
        for name, measures in speeds.items()
    }
    told = answers(python, bundle)
    emulator = runner_on("emulator", folder)
    assert isinstance(emulator, EmulatorRunner)
    estimated = footprint_of_manifest(bundle.manifest)
    return {
        "preset": bundle.preset.name,
        "program_bytes": bundle.size_bytes,
        "distinct_answers": len({tuple(answer.ids) for answer in told}),
        "medians": medians,
        "native_over_python": {
            rate: round(medians["native"][rate] / medians["python"][rate], 3)
            for rate in ("prefill_rate", "decode_rate")
        },
        "native_peak_bytes": native.peak_memory(),
        "estimated_peak_bytes": estimated.peak,
        "native": agreement(answers(native, bundle), told),
        "emulator": agreement(answers(emulator, bundle), told),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/native"))
    parser.add_argument("--presets", nargs="*", default=["fp32", "int8", "int4"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/native_runner.json"))
    arguments = parser.parse_args()
    quiet()
    merged = arguments.work / "middle"
    if not merged.is_dir():
        build("middle", merged)
    rows = []
    for preset in arguments.presets:
        folder = arguments.work / preset
        if not (folder / MANIFEST).is_file():
            export_bundle(
                merged,
                target="android",
                runtime="executorch",
                preset=preset,
                out=folder,
                golden_inputs=golden_inputs(merged, None),
                limits=LIMITS,
                attention="manual",
            )
        rows.append(compare(folder, arguments.threads))
        ratio, row = rows[-1]["native_over_python"], rows[-1]
        print(
            f"{preset}: native/python prefill {ratio['prefill_rate']:.2f}, decode "
            f"{ratio['decode_rate']:.2f}; peak {row['native_peak_bytes'] / 1e6:.1f} MB, estimated "
            f"{row['estimated_peak_bytes'] / 1e6:.1f}; equal answers native "
            f"{row['native']['equal_answers']}, emulator {row['emulator']['equal_answers']} of "
            f"{row['emulator']['answers']}"
        )
    write_json(
        arguments.out,
        {"environment": vars(environment.collect()), "threads": arguments.threads, "rows": rows},
    )


if __name__ == "__main__":
    main()
