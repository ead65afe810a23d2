"""The table of `original_full_width.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import table

Result = Mapping[str, Any]

_PUBLISHED = {"mobilevlm-1.7b": "MobileVLM 1.7B", "mobilevlm-v2-3b": "MobileVLM V2 3B"}


def render(value: Result) -> str:
    """Return what importing a published size and writing it back takes."""
    titles = ["model", "weights", "import", "peak of own memory", "back again", "tensors identical"]
    lines = []
    for run in value["runs"]:
        read, back, tensors = run["import"], run["export mobilevlm"], run["round_trip"]
        peak = f"{read['allocated_peak_mib']} MiB, of which {read['allocated_before_mib']}"
        lines.append(
            [
                _PUBLISHED[run["name"]],
                f"{run['bytes'] / 1e9:.1f} GB",
                f"{read['seconds']:.1f} s",
                f"{peak} before it begins",
                f"{back['seconds']:.1f} s",
                f"{tensors['identical']} of {tensors['tensors']}",
            ]
        )
    return table(titles, lines)
