"""The Markdown table of `training_speed.json`: a pure function of the JSON.

    python -m experiments.training_speed.table [FILE]

Medians over rounds with their range; ratios are taken within a round, then their median.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.shared.markdown import ranged, table

_RESULT = Path(__file__).with_name("result.json")
PEER, UNIFORM = "Trainer + peft LoRA", "ours, uniform"
Row = Mapping[str, Any]


def ratios(value: Mapping[str, Any], way: str, to: str, key: str) -> list[float]:
    """Return `way` over `to`, one for each round that has both."""
    rounds: dict[int, dict[str, float]] = {}
    for row in value["rows"]:
        rounds.setdefault(row["round"], {})[row["way"]] = row[key]
    return [r[way] / r[to] for r in rounds.values() if way in r and to in r]


def render(value: Mapping[str, Any]) -> str:
    """Return the table of a result."""
    ways = list(dict.fromkeys(row["way"] for row in value["rows"]))
    protocol = value["protocol"]
    titles = ["", "questions/s", f"of {PEER}", "with the feature pass", "of it"]
    titles += ["step s", f"time of {UNIFORM}", "peak MiB", "loss"]
    lines = []
    for way in ways:
        rows = [row for row in value["rows"] if row["way"] == way]
        slower = [1 / r for r in ratios(value, way, UNIFORM, "questions_per_second")]
        cells = [
            ranged([row["questions_per_second"] for row in rows]),
            ranged(ratios(value, way, PEER, "questions_per_second")),
            ranged([row["with_features"] for row in rows]),
            ranged(ratios(value, way, PEER, "with_features")),
            f"{statistics.median(s for row in rows for s in row['step_seconds']):.2f}",
            ranged(slower) if way.startswith("ours") else "",
            f"{statistics.median(row['peak_bytes'] for row in rows) / 2**20:.0f}",
            f"{statistics.median(row['loss'] for row in rows):.2f}",
        ]
        lines.append([way, *cells])
    head = (
        f"{protocol['steps']} steps of {protocol['batch']} questions, rank {protocol['rank']}, "
        f"{protocol['threads']} threads, {protocol['rounds']} rounds; medians, with the range over "
        "rounds in brackets"
    )
    return f"{head}\n\n{table(titles, lines)}"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else _RESULT
    print(render(json.loads(file.read_text(encoding="utf-8"))))
