"""The app's own loop on a desktop's JVM beside `hydra-mobile evaluate`, on the same bundles.

The app answers EmojiQA with its own tokenizer, template, pixels and loop. For ONNX bundles on two
libraries:

- "host": the one that `evaluate` computes with, so that every difference is the app's;
- "android": the Android x86_64 library of the app, where kernels differ from the desktop's, too.

For ExecuTorch on the Android x86_64 library, through the app's own bridge.

What rounding alone does to a bundle's answers is told by a control in Python where an answer of the
app differs: the same pixels, multiplied by 1 + 1e-7. Nothing is timed: a desktop says nothing about
a phone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from android_demo.tools.desktop import benchmark, libraries
from experiments.devices.nudged import nudged
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests

Answers = Mapping[str, Mapping[str, Any]]


def evaluated(
    bundle: Path, data: Path, out: Path, limit: int, threads: int, questions: int
) -> dict[str, Any]:
    """Answer with `hydra-mobile evaluate`, unless an earlier call did; return answers by key."""
    if files := sorted(out.glob("answers/*/*/answers.jsonl")):
        found = by_key(files[0], "key")
        if len(files) == 1 and len(found) == questions:
            return found
    command = [
        *(sys.executable, "-m", "hydra_mobile", "evaluate", str(bundle), "--data", str(data)),
        *("--out", str(out), "--limit", str(limit), "--workers", "1", "--threads", str(threads)),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    files = list((out / "answers").glob("*/*/answers.jsonl"))
    assert len(files) == 1, files
    return by_key(files[0], "key")


def by_key(file: Path, key: str) -> dict[str, Any]:
    """Return the answers of a file of lines."""
    return {line[key]: line for line in lines_of(file) if key in line}


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def agreement(ours: Answers, theirs: Answers) -> dict[str, Any]:
    """Compare answers with those of `evaluate`, in its order."""
    assert ours.keys() == theirs.keys()
    other = [key for key in theirs if ours[key]["ids"] != theirs[key]["ids"]]
    changes = [abs(ours[key]["margin"] - theirs[key]["margin"]) for key in theirs]
    first = other[0] if other else None
    return {
        "questions": len(theirs),
        "equal_texts": sum(ours[key]["text"] == theirs[key]["text"] for key in theirs),
        "equal_ids": len(theirs) - len(other),
        "first_difference": first
        and {
            "key": first,
            "evaluate": theirs[first]["text"],
            "other": ours[first]["text"],
            "margin": theirs[first]["margin"],
        },
        # Four digits are kept of the margins that `evaluate` writes.
        "largest_change_of_margin": round(max(changes), 4),
        "median_margin": round(statistics.median(line["margin"] for line in theirs.values()), 4),
        "largest_margin_of_a_difference": max(
            (theirs[key]["margin"] for key in other), default=None
        ),
    }


def compare(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one bundle in every way."""
    bundle = Bundle.open(folder)
    work = arguments.work / folder.name
    emojiqa = EmojiQA(arguments.data)
    samples = emojiqa.samples(limit=arguments.limit)
    theirs = evaluated(
        folder,
        arguments.data,
        work / "report",
        arguments.limit,
        arguments.threads,
        len(samples),
    )
    asks = [
        Ask(s.key, emojiqa.prompt(s), s.image.open, s.image.key, emojiqa.max_new_tokens)
        for s in samples
    ]
    write_requests(work, asks, bundle.processor())
    app = {}
    # ExecuTorch's Python package has no library that a JVM could load.
    kinds = libraries.KINDS if bundle.runtime == "onnx" else ("android",)
    for kind in kinds:
        answers = work / f"{kind}.jsonl"
        answers.unlink(missing_ok=True)
        benchmark.run_benchmark(
            folder, work / REQUESTS, answers, kind=kind, threads=arguments.threads
        )
        told = by_key(answers, "id")
        session = next(line for line in lines_of(answers) if "session" in line)["session"]
        library = session["library"] if kinds == ("android",) else libraries.described(kind)
        app[kind] = agreement(told, theirs) | {"library": library}
    differs = any(row["equal_texts"] < row["questions"] for row in app.values())
    return {
        "runtime": bundle.runtime,
        "preset": bundle.preset.name,
        "distinct_answers": len({line["text"] for line in theirs.values()}),
        "app": app,
        "control_pixels_times_1_plus_1e-7": agreement(
            nudged(folder, emojiqa, samples, arguments.threads), theirs
        )
        if differs
        else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/app_loop"))
    parser.add_argument("--limit", type=int, default=54, help="questions of each split, about")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("experiments/devices/app_loop.json"))
    arguments = parser.parse_args()
    quiet()
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    facts = {
        "packages": {name: metadata.version(name) for name in ("executorch", "onnxruntime")},
        "java": java.stderr.splitlines()[0],
        "machine": platform.machine(),
        "threads": arguments.threads,
    }
    rows: list[dict[str, Any]] = []
    for folder in arguments.bundles:
        rows.append(row := compare(folder, arguments))
        write_json(arguments.out, {**facts, "bundles": rows})
        print(row["runtime"], row["preset"], dumps(row["app"], indent=1))


if __name__ == "__main__":
    main()
