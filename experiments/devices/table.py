"""The table of `device_parity.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import table

Result = Mapping[str, Any]


def render(value: Result) -> str:
    """Return how many answers of each form of the C++ runner equal the Python runtime's."""
    titles = ["equal to the Python runtime", "C++ runner, x86-64", "C++ runner, arm64"]
    forms = ("native", "emulator", "control_pixels_times_1_plus_1e-7")
    lines = [
        [row["preset"], *(f"{row[f]['equal_ids']} of {row[f]['answers']}" for f in forms)]
        for row in value["rows"]
    ]
    return table([*titles, "the control"], lines)
