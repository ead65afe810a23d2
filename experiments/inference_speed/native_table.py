"""The table of `native_runner.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import spread, table

Result = Mapping[str, Any]


def render(value: Result) -> str:
    """Return speed of the C++ runner over the Python runtime's, and its memory."""
    phases = ("encode", "prefill", "decode")
    lines = [
        [
            row["preset"],
            *(spread(row["native_over_python"][phase]) for phase in phases),
            f"{row['native_peak_bytes'] / 1e6:.0f} MB",
            f"{row['estimated_peak_bytes'] / 1e6:.0f} MB",
        ]
        for row in value["rows"]
    ]
    return table(["native over Python", *phases, "peak memory", "estimated"], lines)
