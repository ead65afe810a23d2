"""Do the native runner and the emulated arm64 answer as the host does? EmojiQA on real bundles.

    python -m experiments.device_parity BUNDLE... --data data/emojiqa --questions 120

Each bundle (exported with `--attention manual`) answers the same questions in the Python runtime,
in the native runner and on an emulated arm64, through `hydra-mobile evaluate`; the answers'
greedy token ids are then compared one by one. What rounding alone does is told by a control: the
host again, with pixels that differ in their last digit. Interrupted, the same command goes on.
Prints a line for each bundle and place, and writes JSON. No timings: an emulator's say nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.nudged import nudged
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.evaluation.store.prediction_log import read_answers
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("results") / "device_parity.json"
PLACES = ("host", "native", "emulator")
CONTROL = "control_pixels_times_1_plus_1e-7"
#: Splits of EmojiQA without another artist's drawings.
_SPLITS = 2


def answers(bundle: Path, data: Path, each: int, place: str, out: Path) -> dict[str, Any]:
    """Let a bundle answer; return key -> answer."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "evaluate", str(bundle)]
    command += ["--benchmarks", "emojiqa", "--data", str(data), "--limit", str(each)]
    subprocess.run([*command, "--device", place, "--out", str(out)], check=True)
    files = sorted(out.glob("answers/*/emojiqa-*/answers.jsonl"))
    return {line["key"]: line for file in files for line in read_answers(file)}


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Compare a place's answers with the host's."""
    if ours.keys() != theirs.keys():
        raise RuntimeError("the places were asked different questions")
    changed = [key for key in ours if ours[key]["ids"] != theirs[key]["ids"]]
    return {
        "answers": len(ours),
        "equal_ids": len(ours) - len(changed),
        "distinct_answers": len({tuple(answer["ids"]) for answer in theirs.values()}),
        # How sure the host was of the first token where the answers differ, and in the middle.
        "margins_of_changed": sorted(theirs[key]["margin"] for key in changed),
        "median_margin": sorted(a["margin"] for a in theirs.values())[len(theirs) // 2],
        "margin_max_difference": max(abs(ours[k]["margin"] - theirs[k]["margin"]) for k in ours),
    }


def _nudged(bundle: Path, data: Path, each: int) -> dict[str, Any]:
    emojiqa = EmojiQA(data)
    return nudged(bundle, emojiqa, emojiqa.samples(limit=each), threads=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--work", type=Path, default=Path("runs/device_parity"))
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    rows = []
    for folder in arguments.bundles:
        bundle = Bundle.open(folder)
        each = arguments.questions // _SPLITS
        found = {
            place: answers(
                folder, arguments.data, each, place, arguments.work / bundle.preset.name / place
            )
            for place in PLACES
        }
        rows.append(
            {
                "preset": bundle.preset.name,
                "program_bytes": bundle.size_bytes,
                "tolerance": bundle.manifest.get("tolerance"),
                "sources": read_json(folder / "manifest.json", "a manifest")["sources"],
                **{place: compare(found[place], found["host"]) for place in PLACES[1:]},
                CONTROL: compare(_nudged(folder, arguments.data, each), found["host"]),
            }
        )
        for place in (*PLACES[1:], CONTROL):
            row = rows[-1][place]
            print(f"{bundle.preset.name}, {place}: {row['equal_ids']} of {row['answers']} equal")
    write_json(arguments.out, {"environment": vars(environment.collect()), "rows": rows})


if __name__ == "__main__":
    main()
