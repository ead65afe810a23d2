"""The native runner beside the Python runtime, on the same programs in the same run.

    python -m experiments.inference_speed.native_runner BUNDLE... --turns 10 --threads 2

Each bundle (exported with `--attention manual`) answers the same few questions in turns: in Python,
and natively as a batch, as a phone does. A turn takes seconds, so that a slow spell of the machine
falls on both; the ratio is taken turn by turn. Prints for each bundle the ratios' medians and
quartiles and the native runner's peak memory beside the footprint in the bundle's manifest, and
writes JSON. Whether the answers agree is the question of `experiments/devices`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from hydra_export.targets import target_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests
from hydra_mobile.devices.native_build import host, native_runner
from hydra_mobile.measurement.plan import Plan, question_of
from hydra_mobile.measurement.table import spread
from hydra_mobile.reporting import environment
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator

RESULT = Path(__file__).with_name("native_runner.json")
#: Beside the program's size, how far the estimate may be from the measured peak.
_SLACK_BYTES = 10_000_000

#: Answers a turn's questions; returns what was measured of each, warm-up left out.
Turn = Callable[[], list[dict[str, Any]]]


def python_turn(folder: Path, plan: Plan, question: str, picture: Image.Image) -> Turn:
    """Load a bundle in this process."""
    kind = runtime_class("executorch")
    kind.own_process(plan.threads)
    generator = Generator(kind.load(folder, threads=plan.threads))

    def turn() -> list[dict[str, Any]]:
        answers = [
            generator.answer(
                question, lambda: picture, max_new_tokens=plan.new_tokens, stop=False
            ).__dict__
            for _ in range(plan.warmup + plan.repeats)
        ]
        return answers[plan.warmup :]

    return turn


def native_turn(folder: Path, plan: Plan, question: str, picture: Image.Image, work: Path) -> Turn:
    """Write the questions down for the native runner, which loads the bundle in each turn."""
    asks = [
        Ask(str(n), question, lambda: picture, f"key-{n}", plan.new_tokens, stop=False)
        for n in range(plan.warmup + plan.repeats)
    ]
    write_requests(work, asks, Bundle.open(folder).processor())
    command = [str(native_runner(host())), "--bundle", str(folder)]
    command += ["--requests", str(work / REQUESTS), "--threads", str(plan.threads)]

    def turn() -> list[dict[str, Any]]:
        out = work / "answers.jsonl"
        out.unlink(missing_ok=True)
        subprocess.run([*command, "--answers", str(out)], check=True)
        lines = map(json.loads, out.read_text().splitlines())
        return [line for line in lines if "id" in line][plan.warmup :]

    return turn


def rates(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of a turn: pictures/s, tokens/s, tokens/s."""
    each = {
        "encode": [1 / a["encode_seconds"] for a in answers],
        "prefill": [a["prefill_tokens"] / a["prefill_seconds"] for a in answers],
        "decode": [a["decode_steps"] / a["decode_seconds"] for a in answers],
    }
    return {name: statistics.median(values) for name, values in each.items()}


def compare(folder: Path, plan: Plan, work: Path) -> dict[str, Any]:
    """Run one bundle in both ways."""
    bundle = Bundle.open(folder)
    processor = bundle.processor()
    question = question_of(plan, processor, bundle.limits.max_context)
    picture = Image.new("RGB", (processor.image.size,) * 2, (90, 140, 60))
    python = python_turn(folder, plan, question, picture)
    native = native_turn(folder, plan, question, picture, work)
    turns = []
    native_peak = 0
    for _ in range(plan.rounds):
        ours, theirs = native(), python()
        native_peak = max(native_peak, *(answer["peak_memory_bytes"] for answer in ours))
        turns.append({"native": rates(ours), "python": rates(theirs)})
    estimated = target_of(bundle.manifest).memory(bundle.manifest).peak
    return {
        "preset": bundle.preset.name,
        "program_bytes": bundle.size_bytes,
        "turns": turns,
        "native_over_python": {
            rate: spread([turn["native"][rate] / turn["python"][rate] for turn in turns])
            for rate in turns[0]["native"]
        },
        "native_peak_bytes": native_peak,
        "estimated_peak_bytes": estimated,
        "within_slack": abs(native_peak - estimated) <= bundle.size_bytes + _SLACK_BYTES,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    quiet()
    plan = Plan(rounds=arguments.turns, repeats=5, threads=arguments.threads)
    rows = []
    for folder in arguments.bundles:
        with tempfile.TemporaryDirectory(prefix="native-") as work:
            rows.append(row := compare(folder, plan, Path(work)))
        told = ", ".join(
            f"{rate} {middle:.2f} [{low:.2f}, {high:.2f}]"
            for rate, (middle, low, high) in row["native_over_python"].items()
        )
        print(
            f"{row['preset']}: native/Python {told}; native peak "
            f"{row['native_peak_bytes'] / 1e6:.0f} MB, estimated "
            f"{row['estimated_peak_bytes'] / 1e6:.0f}"
        )
    write_json(
        arguments.out,
        {"environment": vars(environment.collect()), "plan": plan.to_dict(), "rows": rows},
    )


if __name__ == "__main__":
    main()
