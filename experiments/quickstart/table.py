"""The table of a quickstart's report: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import spread, table

Result = Mapping[str, Any]


def render(value: Result) -> str:
    """Return the quickstart's systems: scores with 95% intervals, agreement, size, speed."""
    titles = ["system", "seen names, % [95%]", "unseen names, % [95%]", "same answers as torch"]
    lines = []
    for system in value["systems"]:
        scores = {s["split"]: s for s in system["scores"] if s["kind"] == "all"}
        cells = [
            spread([100 * scores[split][key] for key in ("value", "low", "high")], ".1f")
            for split in ("seen", "unseen")
        ]
        agreement = (system["agreement"] or {}).values()
        same, asked = (sum(part[key] for part in agreement) for key in ("same", "n"))
        missing = "" if system["role"] == "untrained" else "reference"
        rate = system["timings"]["decode_tokens_per_second"]["median"]
        lines.append(
            [
                system["name"],
                *cells,
                f"{same} of {asked}" if asked else missing,
                f"{system['size_bytes'] / 1e6:.0f}",
                f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}",
            ]
        )
    return table([*titles, "MB", "decode tok/s"], lines)
