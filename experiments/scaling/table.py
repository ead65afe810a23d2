"""Markdown tables and a plot of `scaling.json`: pure functions of the JSON.

python -m experiments.scaling.table [FILE]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.shared.markdown import table

_RESULT = Path(__file__).with_name("result.json")


def render(value: Mapping[str, Any]) -> str:
    """Return all tables of a result."""
    rows: list[Mapping[str, Any]] = value["rows"]
    done = [row for row in rows if "skipped" not in row]
    parts = [_events([row for row in done if row["runtime"] is None])]
    parts += [_exports([row for row in done if row["runtime"]]), _lines(value["lines"])]
    parts.append(_predictions(value["predictions"]))
    skipped = [row for row in rows if "skipped" in row]
    if skipped:
        places: dict[str, list[str]] = {}
        for row in skipped:
            kind = f"{_form(row)}, {row['skipped']}"
            places.setdefault(kind, []).append(f"{row['layers']}x{row['width']}")
        named = [f"- {kind}: {', '.join(found)}" for kind, found in places.items()]
        parts.append("Not measured:\n\n" + "\n".join(named) + "\n")
    return "\n".join(part for part in parts if part)


def _form(row: Mapping[str, Any]) -> str:
    return f"{row['runtime']} {row['preset']}" if row["runtime"] else "event"


def _events(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = ["layers", "width", "weights M", "modules", "step ms", "event ms", "event / step"]
    lines = [
        [
            str(row["layers"]),
            str(row["width"]),
            f"{row['weights'] / 1e6:.1f}",
            str(row["modules"]),
            f"{1e3 * statistics.median(row['step_seconds']):.1f}",
            f"{1e3 * statistics.median(row['event_seconds']):.1f}",
            f"{row['event_in_steps']:.2f}",
        ]
        for row in rows
    ]
    return f"A rank event that changes every module\n\n{table(titles, lines)}" if rows else ""


def _exports(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = ["layers", "width", "form", "seconds", "peak GB", "program MB", "estimate on phone MB"]
    lines = [
        [
            str(row["layers"]),
            str(row["width"]),
            _form(row),
            f"{row['seconds']:.0f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['program_bytes'] / 1e6:.1f}",
            f"{row['footprint_bytes'] / 1e6:.0f}",
        ]
        for row in sorted(rows, key=lambda r: (_form(r), r["layers"], r["width"]))
    ]
    return f"Exports\n\n{table(titles, lines)}" if rows else ""


def _lines(lines: Mapping[str, Any]) -> str:
    titles = ["form", "of", "points", "line", "largest residual"]
    rows = [
        [
            form,
            target,
            str(line["points"]),
            " + ".join(f"{c:.3g} {name}" for name, c in line["coefficients"].items()),
            f"{line['worst']:.1%}",
        ]
        for form, targets in lines.items()
        for target, line in targets.items()
    ]
    return f"Fitted lines (seconds, bytes)\n\n{table(titles, rows)}" if rows else ""


def _predictions(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = ["model", "form", "export min", "export peak GB", "program MB", "by its bits MB"]
    titles.append("estimate on phone MB")
    lines, events = [], []
    for row in rows:
        found = row["fitted"]
        if row["form"] == "event":
            events.append(f"{row['model']}: a rank event takes {found['event']:.2f} s")
            continue
        lines.append(
            [
                row["model"],
                row["form"],
                _cell(found, "seconds", 60, ".0f"),
                _cell(found, "peak_bytes", 1e9, ".1f"),
                _cell(found, "program_bytes", 1e6, ".0f"),
                f"{row['computed']['program_bytes'] / 1e6:.0f}",
                f"{row['computed']['footprint_bytes'] / 1e6:.0f}",
            ]
        )
    head = "What the lines say about published models, outside of what was measured"
    text = f"{head}\n\n{table(titles, lines)}" if lines else ""
    return text + "".join(f"\n{event}" for event in events) + ("\n" if events else "")


def _cell(found: Mapping[str, float], name: str, unit: float, form: str) -> str:
    return format(found[name] / unit, form) if name in found else ""


def plot(value: Mapping[str, Any], file: Path) -> None:
    """Draw seconds, peak memory and size over weights, and events over steps, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in value["rows"] if "skipped" not in row]
    sizes = {(r["layers"], r["width"]): r["weights"] for r in rows if "weights" in r}
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 7))
    wanted = (
        ("seconds", 1, "export, seconds"),
        ("peak_bytes", 1e9, "export, peak GB"),
        ("program_bytes", 1e6, "program, MB"),
    )
    for panel, (target, unit, title) in zip(panels.flat, wanted, strict=False):
        for form in sorted({_form(row) for row in rows if row["runtime"]}):
            chosen = [r for r in rows if r["runtime"] and _form(r) == form]
            points = [
                (sizes[place] / 1e6, row[target] / unit)
                for row in chosen
                if (place := (row["layers"], row["width"])) in sizes
            ]
            panel.plot(*zip(*sorted(points), strict=True), "o-", label=form) if points else None
        panel.set(title=title, xscale="log", yscale="log")
    events = sorted(
        (row["weights"] / 1e6, row["event_in_steps"]) for row in rows if row["runtime"] is None
    )
    if events:
        panels[1][1].plot(*zip(*events, strict=True), "o-")
    panels[1][1].set(title="rank event / training step", xscale="log")
    panels[0][0].legend(fontsize=7)
    for panel in panels[1]:
        panel.set_xlabel("million weights")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else _RESULT
    print(render(json.loads(file.read_text(encoding="utf-8"))))
