"""Drawings of the page: what `hydra_mobile.reporting.svg` lacks for pictures of two widths."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from hydra_mobile.reporting import svg
from hydra_mobile.reporting.svg import number, tag

#: Widths of a drawing on wide and on narrow pages; the style sheet shows one of the two.
WIDE, NARROW = 1088.0, 334.0


def drawing(
    ident: str,
    title: str,
    description: str,
    size: tuple[float, float],
    body: str,
    classes: str,
) -> str:
    """Return a drawing with its words for those who cannot see it.

    Args:
        ident: unique on the page.
        title: what it is.
        description: what it shows, in numbers.
        size: width and height of its coordinates.
        body: markup.
        classes: "wide" or "narrow" for one of a pair.
    """
    head = tag("title", escape(title), id=f"{ident}-t")
    head += tag("desc", escape(description), id=f"{ident}-d")
    return tag(
        "svg",
        head + body,
        class_=f"draw {classes}".strip(),
        viewBox=f"0 0 {number(size[0])} {number(size[1])}",
        role="img",
        aria_labelledby=f"{ident}-t {ident}-d",
    )


def words(x: float, y: float, content: str, classes: str = "tick", anchor: str = "start") -> str:
    """Return a line of text."""
    return svg.text(x, y, content, classes, anchor)


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    """Return a straight line."""
    return svg.path([(x1, y1), (x2, y2)], classes)


def poly(points: Iterable[tuple[float, float]], classes: str) -> str:
    """Return an open line through `points`."""
    return svg.path(list(points), classes)


def titled(markup: str, title: str) -> str:
    """Return a group with a tooltip."""
    return tag("g", tag("title", escape(title)) + markup)
