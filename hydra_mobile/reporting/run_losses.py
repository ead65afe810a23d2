"""Loss curves of several runs beside each other, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra_mobile.reporting import svg
from hydra_mobile.reporting.plots import WIDTH

_COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#718096")
_DASHES = ("", "8 4", "2 3")


def losses_picture(series: Mapping[str, Sequence[tuple[int, float]]], title: str) -> str:
    """Return one curve for each name, of finite (step, loss) points; each has at least one."""
    height, left, right, top, bottom = 360.0, 48.0, 8.0, 30.0 + 20.0 * len(series), 34.0
    values = [loss for points in series.values() for _, loss in points]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0)
    last = max(step for points in series.values() for step, _ in points) or 1

    def x(step: float) -> float:
        return left + (WIDTH - left - right) * step / last

    def y(loss: float) -> float:
        return height - bottom - (height - top - bottom) * (loss - low) / (high - low)

    parts = []
    for value in svg.ticks(low, high):
        parts.append(svg.line(left, y(value), WIDTH - right, y(value), "grid"))
        parts.append(svg.text(left - 8, y(value) + 4, f"{value:g}", "tick", "end"))
    for value in svg.ticks(0, last, 8):
        parts.append(svg.text(x(value), height - bottom + 17, f"{value:g}", "tick", "middle"))
    parts.append(svg.text(WIDTH - right, height - 2, "step", "tick", "end"))
    for number, (name, points) in enumerate(series.items()):
        color = _COLORS[number % len(_COLORS)]
        style: dict[str, str | float | None] = {
            "fill": "none",
            "stroke": color,
            "stroke_width": 2,
            "stroke_dasharray": _DASHES[number // len(_COLORS) % len(_DASHES)] or None,
        }
        placed = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
        parts.append(svg.tag("polyline", points=placed, **style))
        at = 20.0 + 20.0 * number
        parts.append(svg.tag("polyline", points=f"{left},{at} {left + 28},{at}", **style))
        parts.append(svg.text(left + 36, at + 4, name, "label"))
    return svg.picture("run-losses", title, f"{title}.", WIDTH, height, "".join(parts))
