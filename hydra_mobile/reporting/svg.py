"""The few SVG pieces that the pictures are made of.

Colors and fonts come from the page's style sheet through class names, so that one picture serves
light, dark and print.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from importlib import resources

_MARGIN = 16


def number(value: float) -> str:
    """Return a coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


def _attributes(given: dict[str, str | float | None]) -> str:
    parts = []
    for name, value in given.items():
        if value is None:
            continue
        text = number(value) if isinstance(value, int | float) else escape(value, quote=True)
        parts.append(f' {name.rstrip("_").replace("_", "-")}="{text}"')
    return "".join(parts)


def tag(name: str, content: str = "", /, **attributes: str | float | None) -> str:
    """Return an element; `content` is markup, `class_` and `text_anchor` become attributes."""
    return f"<{name}{_attributes(attributes)}>{content}</{name}>"


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> str:
    """Return a line of text; `content` is plain."""
    at = "" if anchor == "start" else anchor
    return tag("text", escape(content), x=x, y=y, class_=class_ or None, text_anchor=at or None)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(
    x: float, y: float, width: float, height: float, class_: str, title: str = "", rx: float = 0
) -> str:
    """Return a rectangle, with a tooltip when `title` is given."""
    content = tag("title", escape(title)) if title else ""
    return tag(
        "rect", content, x=x, y=y, width=max(width, 0), height=height, class_=class_, rx=rx or None
    )


def dot(x: float, y: float, radius: float, class_: str, title: str = "") -> str:
    """Return a disc, with a tooltip when `title` is given."""
    content = tag("title", escape(title)) if title else ""
    return tag("circle", content, cx=x, cy=y, r=radius, class_=class_)


def path(points: list[tuple[float, float]], class_: str) -> str:
    """Return an open line through `points`."""
    steps = (f"{'L' if i else 'M'}{number(x)} {number(y)}" for i, (x, y) in enumerate(points))
    return tag("path", d="".join(steps), class_=class_)


def picture(name: str, title: str, description: str, width: float, height: float, body: str) -> str:
    """Return a whole picture with its title and description for those who cannot see it."""
    head = tag("title", escape(title), id=f"{name}-title")
    head += tag("desc", escape(description), id=f"{name}-desc")
    return tag(
        "svg",
        head + body,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_=name,
    )


def document(pictures: Sequence[str]) -> str:
    """Return an SVG file with `pictures` (results of `picture`) one below the other.

    Its colors are those of the light page, written out: most viewers of files know neither
    variables nor dark mode.
    """
    page = resources.files(__package__).joinpath("pictures.css").read_text("utf-8")
    light = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", page)
    colors = dict(re.findall(r"--([\w-]+):\s*([^;]+);", light))
    style = re.sub(r"var\(--([\w-]+)\)", lambda found: colors[found[1]], light)
    parts, width, height = [], 0.0, 0.0
    for one in pictures:
        opening, _, rest = one.partition(">")
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
        assert size is not None, "not a result of `picture`"
        name = re.search(r'class="([^"]*)"', opening)
        body = rest.removesuffix("</svg>")
        parts.append(
            tag(
                "g",
                body,
                transform=f"translate({_MARGIN} {number(height + _MARGIN)})",
                class_=name[1] if name else None,
            )
        )
        width, height = max(width, float(size[1])), height + float(size[2]) + _MARGIN
    # The page's rules for pictures inside of it do not hold for a file.
    alone = "svg { width: auto; min-width: 0; max-width: none; font-family: system-ui, sans-serif }"
    return tag(
        "svg",
        tag("style", f"{style}\n{alone}")
        + tag("rect", width="100%", height="100%", fill=colors["page"])
        + "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width + 2 * _MARGIN)} {number(height + _MARGIN)}",
        width=width + 2 * _MARGIN,
        height=height + _MARGIN,
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values inside [low, high], about `about` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]
