"""The table of `result.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import spread, table

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
