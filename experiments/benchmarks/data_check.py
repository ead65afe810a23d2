"""How fast `hydra-mobile data check` reads a file of mix665k's size, and in how much memory.

Writes 665,000 records with planted faults and as many picture files as the original has (hard links
to 200 JPEG files of 320 x 240), then runs the check in a child process: once for the records alone,
once for everything (every picture decoded, every conversation tokenized). Every planted fault must
be found, and nothing else.

    python -m experiments.benchmarks.data_check

Needs base `smol` for its tokenizer. Takes about 2.5 GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from made_mix import PLANTED, MadeMix, counts_of

from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("data_check.json")
MAX_LENGTH = 2048
RECORDS_ONLY = ["--pictures", "none"]
EVERYTHING = ["--pictures", "full", "--base", "smol", "--template", "v1"]
FOUND_WITHOUT_LOOKING = {
    "malformed records",
    "wrong roles",
    "empty turns",
    "mismatched <image> marks",
    "duplicate ids",
}


def check(made: MadeMix, options: list[str], out: Path) -> dict[str, Any]:
    """Run the command in a process of its own; return its JSON."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "data", "check"]
    command += [str(made.file), "--images", str(made.pictures), "--max-length", str(MAX_LENGTH)]
    command += ["--json", *options]
    with out.open("w") as handle:
        done = subprocess.run(command, check=False, stdout=handle)
    # 3: it found what was planted.
    if done.returncode != 3:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}, expected 3")
    result: dict[str, Any] = json.loads(out.read_text())["result"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=665_000)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        made = MadeMix(Path(folder), arguments.records, PLANTED, words_of_a_long_sample=3000)
        made.write()
        print(f"{made.file}: {made.file.stat().st_size / 1e6:,.0f} MB", flush=True)
        for name, options, kinds in (
            ("records_only", RECORDS_ONLY, FOUND_WITHOUT_LOOKING),
            ("everything", EVERYTHING, set(PLANTED)),
        ):
            result = check(made, options, Path(folder) / f"{name}.json")
            expected = {kind: count for kind, count in PLANTED.items() if kind in kinds}
            if counts_of(result) != expected:
                raise SystemExit(f"{name}: planted {expected}, found {counts_of(result)}")
            # DataRoots in a folder that is gone.
            result["file"] = made.file.name
            for part in ("problems", "remarks"):
                result[part] = {kind: value["count"] for kind, value in result[part].items()}
            measured[name] = result
    value = {
        "planted": PLANTED,
        "all_planted_faults_found_and_nothing_else": True,
        **measured,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(dumps(value, indent=2) + "\n")
    for name, result in measured.items():
        print(
            f"{name}: {result['records_per_second']:,.0f} records/s, "
            f"{result['peak_memory_bytes'] / 2**20:,.0f} MiB at the peak"
        )
    print(arguments.out)


if __name__ == "__main__":
    main()
