"""The tables of `result.json` and `calibration.json`: pure functions of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.shared.markdown import spread, table
from hydra_mobile.benchmarks.metric import paired, share

Result = Mapping[str, Any]


def render(value: Result) -> str:
    """Return size and change of the score of each preset against eager fp32."""
    titles = ["program", "MB", "of fp16", "same answers", "points [95%]"]
    lines = []
    for row in value["rows"]:
        change = [100 * row["change_of_all"][key] for key in ("value", "low", "high")]
        equal = row["same_answers"] == row["questions"] and row["preset"]["name"] == "fp32"
        lines.append(
            [
                row["system"],
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['of_fp16']:.2f}",
                f"{row['same_answers']} of {row['questions']}",
                "0" if equal else spread(change, "+.1f"),
            ]
        )
    return table(titles, lines)


def render_calibration(value: Result) -> str:
    """Return equal answers, points and errors of each rounding, models together."""
    titles = ["rounded on", "same answers", "points [95%]", "logits, relative error", "KL"]
    lines = []
    names = dict.fromkeys(name for m in value["models"].values() for name in m["rows"])
    for name in (name for name in names if name != "fp32"):
        models = [model for model in value["models"].values() if name in model["rows"]]
        rows = [model["rows"] for model in models]
        # Questions of one picture stand or fall together, model by model.
        clusters = [f"{at} {c}" for at, model in enumerate(models) for c in model["clusters"]]
        ours, reference = (
            share("all", "all", [float(b) for row in rows for b in row[which]["right"]], clusters)
            for which in (name, "fp32")
        )
        change = paired(ours, reference)
        same = "".join(row[name]["same"] for row in rows)
        lines.append(
            [
                name,
                f"{same.count('1')} of {len(same)} ({same.count('1') / len(same):.0%})",
                spread([100 * v for v in (change.value, change.low, change.high)], "+.1f"),
                f"{np.mean([row[name]['logit_error'] for row in rows]):.3f}",
                f"{np.mean([row[name]['divergence'] for row in rows]):.3f}",
            ]
        )
    return table(titles, lines)
