"""A picture of `inference_speed.json`: tokens per second of every form, prefill and decode.

A row of panels for each number of threads, the longest prompt; bars are medians over rounds,
whiskers quartiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.inference_speed.table import rate, spread

_COLORS = {32: "#9db4c0", 8: "#5c9ead", 4: "#326273"}


def plot(value: Mapping[str, Any], file: Path) -> None:
    """Draw a result as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    protocol = value["protocol"]
    length = max(protocol["prompts"])
    counted = (("prefill", length), ("decode", protocol["new_tokens"]))
    names = list(value["forms"])
    threads = protocol["threads"]
    figure, panels = pyplot.subplots(
        len(threads),
        2,
        figsize=(9, (0.24 * len(names) + 0.7) * len(threads)),
        sharey=True,
        squeeze=False,
    )
    for row, count in zip(panels, threads, strict=True):
        for panel, (phase, tokens) in zip(row, counted, strict=True):
            for place, name in enumerate(names):
                rows = [r for r in value["rows"] if (r["form"], r["threads"]) == (name, count)]
                if not rows:
                    continue
                low, middle, high = spread([rate(r, phase, length, tokens) for r in rows])
                color = _COLORS[value["forms"][name]["bits"]]
                whiskers = [[middle - low], [high - middle]]
                panel.barh(place, middle, xerr=whiskers, color=color, ecolor="black", capsize=2)
                panel.text(high, place, f"  {middle:.0f}", va="center", fontsize=7)
            panel.set_title(
                f"{phase}, tokens/s, {count} thread{'s'[: count - 1]}, prompt {length}", fontsize=9
            )
            panel.tick_params(labelsize=7)
            panel.margins(x=0.12)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.4, -0.6)
    figure.tight_layout()
    # No date in the file: the same JSON gives the same bytes.
    figure.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
