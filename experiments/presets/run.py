"""What each preset costs on the trained quickstart model: score, answers and size, both runtimes.

Exports the run that `make quickstart` left in every preset for both Android runtimes, rounded on
its training data, asks all of them the same EmojiQA questions as the eager model, and compares
question by question. Prints a table and writes JSON; what exists already is not done again. About
an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.benchmarks.metric import paired, share
from hydra_mobile.benchmarks.shared.statistics import Difference
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.interface import METHODS
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.evaluation.store.prediction_log import read_answers

RUNTIMES = ("executorch", "onnx")
PRESETS = ("fp32", "fp16", "int8", "int4")
#: What issue and README promise of a preset: most points lost, least share of equal answers.
MOST_LOST = {"fp32": 0.0, "fp16": 0.5, "int8": 0.5, "int4": 1.0}


def export_all(quickstart: Path, out: Path) -> list[Path]:
    """Export what is missing; return the bundles."""
    data = quickstart / "emojiqa"
    bundles = []
    for runtime in RUNTIMES:
        for preset in PRESETS:
            bundle = out / f"android-{runtime}-{preset}"
            bundles.append(bundle)
            if not (bundle / "manifest.json").is_file():
                command = ["export", str(quickstart / "run"), "--target", "android", "--out"]
                command += [str(bundle), "--runtime", runtime, "--preset", preset]
                command += ["--calibrate", str(data / "train_stage2.json"), "--images", str(data)]
                verb(*command)
    return bundles


def verb(*command: str) -> None:
    """Run a verb in a process of its own, whose memory goes back to the system."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", "hydra_mobile", *command], check=True)


def program_bytes(bundle: Path) -> int:
    """Return the bytes of the programs, without tokenizer and golden vectors."""
    entries = Bundle.open(bundle, verify_hashes=False).manifest["files"].values()
    roles = {"program", *METHODS, *(f"{method}_data" for method in METHODS)}
    return sum(int(entry["bytes"]) for entry in entries if entry["role"] in roles)


class Answers:
    """The answers that a report kept, as credits question by question over all splits."""

    def __init__(self, folder: Path, data: Path, limit: int) -> None:
        self.report = read_json(folder / "report.json", "a report")
        self._folder = folder
        self._benchmark = EmojiQA(data)
        self._samples = self._benchmark.samples(limit=limit or None)
        self.reference = next(s for s in self.report["systems"] if s["role"] == "reference")

    def system(self, bundle: Path) -> dict[str, Any]:
        """Return the report's entry of a bundle."""
        named = (s for s in self.report["systems"] if s.get("artefact") == bundle.name)
        found: dict[str, Any] = next(named)
        return found

    def change(self, system: dict[str, Any]) -> Difference:
        """Return the mean credit of all questions minus the eager model's, paired."""
        clusters = [sample.cluster for sample in self._samples]
        ours, reference = (
            share("all", "all", self._credits(each), clusters) for each in (system, self.reference)
        )
        return paired(ours, reference)

    def _credits(self, system: dict[str, Any]) -> list[float]:
        answers = read_answers(self._folder / system["runs"][0]["answers"])
        texts = {answer.key: answer.text for answer in answers}
        return [self._benchmark.credit(s, texts[s.key]) for s in self._samples]


def row(bundle: Path, answers: Answers, half: int) -> dict[str, Any]:
    """Return what is known of one bundle beside the eager model."""
    opened = Bundle.open(bundle, verify_hashes=False)
    report, system = answers.report, answers.system(bundle)
    found = next(c for c in report["comparisons"] if c["system"] == system["name"])
    parity = next((p for p in report["parity"] if system["name"] in p["rung"]), {})
    size = program_bytes(bundle)
    return {
        "system": system["name"],
        "preset": opened.preset.to_dict(),
        "bytes": size,
        "of_fp16": round(size / half, 4),
        "questions": found["n"],
        "same_answers": found["same"],
        "gained": found["gained"],
        "lost": found["lost"],
        "change_of_all": asdict(answers.change(system)),
        "changes": {f"{c['split']}/{c['kind']}": c for c in found["changes"]},
        "first_logits_max_abs": parity.get("max_abs"),
        "fallbacks": opened.manifest["fallbacks"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"))
    parser.add_argument("--work", type=Path, default=Path("quickstart/presets"))
    parser.add_argument("--limit", type=int, default=0, help="questions per split; 0: all")
    parser.add_argument("--out", type=Path, default=Path("experiments/presets/result.json"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    bundles = export_all(arguments.quickstart, arguments.work)
    merged = arguments.quickstart / "run" / "merged"
    report_folder = arguments.work / "report"
    command = ["evaluate", str(merged), *map(str, bundles), "--benchmarks", "emojiqa"]
    command += ["--data", str(arguments.quickstart / "emojiqa"), "--out", str(report_folder)]
    verb(*command, "--limit", str(arguments.limit))
    answers = Answers(report_folder, arguments.quickstart / "emojiqa", arguments.limit)
    rows = []
    print(f"\n{'system':<22}{'MB':>7}{'of fp16':>9}{'same':>12}{'points':>8}  95%, paired")
    for bundle in bundles:
        half = program_bytes(bundle.with_name(bundle.name.rsplit("-", 1)[0] + "-fp16"))
        rows.append(row(bundle, answers, half))
        print_row(rows[-1])
    write_json(
        arguments.out,
        {
            "what": "EmojiQA, trained quickstart model; change of the score against eager fp32",
            "environment": answers.report["environment"],
            "reference": answers.reference["scores"],
            "rows": rows,
        },
    )
    print(f"written to {arguments.out}")


def print_row(found: dict[str, Any]) -> None:
    """Print one line: the change over all questions, and whether it is within bounds."""
    change = found["change_of_all"]
    points, low, high = (100 * change[key] for key in ("value", "low", "high"))
    most = MOST_LOST[found["preset"]["name"]]
    verdict = "within" if points >= -most else "BELOW"
    print(
        f"{found['system']:<22}{found['bytes'] / 1e6:>7.1f}{found['of_fp16']:>9.3f}"
        f"{found['same_answers']:>6} of {found['questions']:<4}{points:>+7.1f}  "
        f"[{low:+.1f}, {high:+.1f}]  {verdict} {most:g}"
    )


if __name__ == "__main__":
    main()
