"""How fast each form of one model encodes, prefills and decodes, on this host.

Rounds are interleaved (every system once, then every system again), each measurement in a process
of its own, so that a slow minute of the machine falls on all systems alike. Needs what
`make quickstart` leaves; prints a table and writes JSON with environment and all measurements.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hydra_mobile.evaluation.artefacts import Artefact, artefact_at
from hydra_mobile.evaluation.sittings import FACTS, REQUEST
from hydra_mobile.files import write_json
from hydra_mobile.reporting import environment

SYSTEMS = (
    "run/merged",
    "android-executorch-fp32",
    "android-executorch-int8",
    "android-executorch-int4",
    "android-onnx-fp32",
    "android-onnx-int8",
    "android-onnx-int4",
)
RATES = ("decode_rate", "prefill_rate", "encode", "first_token")


def measure(artefact: Artefact, threads: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / REQUEST, {"artefact": str(artefact.path), "runner": artefact.runner})
        command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile.evaluation.worker"]
        subprocess.run(
            [*command, "measure", name, str(threads)], check=True, stderr=subprocess.DEVNULL
        )
        speed: dict[str, list[float]] = json.loads((folder / FACTS).read_text())["speed"]
    return speed


def print_table(measured: dict[str, dict[str, list[float]]]) -> None:
    """Print medians, quartiles of decode rates, and ratios to the first system, the eager one."""
    reference = {rate: statistics.median(v) for rate, v in next(iter(measured.values())).items()}
    titles = ("decode tok/s", "of eager", "prefill tok/s", "encode ms", "1st token ms", "of eager")
    print(f"\n{'system':<28}" + "".join(f"{title:>16}" for title in titles))
    for name, rates in measured.items():
        medians = {rate: statistics.median(values) for rate, values in rates.items()}
        low, _, high = statistics.quantiles(rates["decode_rate"], n=4)
        cells = (
            f"{medians['decode_rate']:.1f} [{low:.0f},{high:.0f}]",
            f"{medians['decode_rate'] / reference['decode_rate']:.1f}x",
            f"{medians['prefill_rate']:.0f}",
            f"{1e3 * medians['encode']:.1f}",
            f"{1e3 * medians['first_token']:.1f}",
            f"{reference['first_token'] / medians['first_token']:.1f}x",
        )
        print(f"{name:<28}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/decode_speed.json"))
    arguments = parser.parse_args()
    facts = environment.collect()
    folders = [arguments.quickstart / system for system in SYSTEMS]
    artefacts = [artefact_at(str(folder)) for folder in folders if folder.is_dir()]
    measured: dict[str, dict[str, list[float]]] = {
        artefact.name: {rate: [] for rate in RATES} for artefact in artefacts
    }
    for turn in range(arguments.rounds):
        for artefact in artefacts:
            for rate, values in measure(artefact, arguments.threads).items():
                measured[artefact.name][rate] += values
            print(f"round {turn + 1}: {artefact.name}", flush=True)
    print_table(measured)
    write_json(
        arguments.out,
        {
            "what": "32 new tokens after a picture and a short question, batch 1, greedy",
            "threads": arguments.threads,
            "rounds": arguments.rounds,
            "environment": vars(facts),
            "measured": measured,
        },
    )
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
