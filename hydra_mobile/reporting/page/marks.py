"""The pieces that every section is made of: symbols, figures, folds, numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from hydra_mobile.reporting.formats import NOT_FINITE

NB = "\u00a0"
_MINUS = "\u2212"

#: Symbol -> its drawing in a square of 16 by 16.
SYMBOLS = {
    "ring": '<circle cx="8" cy="8" r="5.3" fill="var(--surface)" stroke="currentColor" '
    'stroke-width="2.6"/>',
    "dot": '<circle cx="8" cy="8" r="6.6" fill="currentColor"/>',
    "diamond": '<path d="M8 .6 15.4 8 8 15.4.6 8z" fill="currentColor"/>',
    "square": '<path d="M2 2h12v12H2z" fill="currentColor"/>',
    "triangle": '<path d="M8 1 15.6 14.4H.4z" fill="currentColor"/>',
    "cross": '<path d="M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z" fill="currentColor"/>',
    "yes": '<path d="M2.5 8.5 6.5 12.5 13.5 4" fill="none" stroke="var(--good)" '
    'stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/>',
    "no": '<path d="M3.5 3.5l9 9m0-9l-9 9" stroke="var(--bad)" stroke-width="2.4" '
    'stroke-linecap="round"/>',
    "check": '<path d="M2.5 8.5 6.5 12.5 13.5 4" fill="none" stroke="currentColor" '
    'stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"/>',
    "rise": '<path d="M3 12 8 4l5 8" fill="none" stroke="currentColor" stroke-width="2.2" '
    'stroke-linecap="round" stroke-linejoin="round"/>',
    "flip": '<path d="M3 6h9l-3-3M13 10H4l3 3" fill="none" stroke="currentColor" '
    'stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>',
    "warn": '<path d="M8 1.8 15 14H1z" fill="none" stroke="currentColor" stroke-width="1.6" '
    'stroke-linejoin="round"/><path d="M8 6.2v3.6M8 11.8v.4" stroke="currentColor" '
    'stroke-width="1.7" stroke-linecap="round"/>',
    "ask": '<circle cx="8" cy="8" r="6.6" fill="none" stroke="currentColor" '
    'stroke-width="1.6"/><path d="M6 6.3q.3-2 2-2t2 1.8q0 1.2-2 2.4M8 11.2v.3" fill="none" '
    'stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/>',
}
LOGO = (
    '<svg viewBox="24 22 60 64" aria-hidden="true" fill="none" stroke="#fff" stroke-width="6.5" '
    'stroke-linecap="round"><path d="M54 74C54 62 47 58 49 46c1-5 3-8 5-11M48 76C46 65 33 67 33 '
    '57c0-4 2-6 4-8M60 76c2-11 15-9 15-19 0-4-2-6-4-8"/><g fill="#fff" stroke="none"><path '
    'd="M34 84c0-11 10-18 20-18s20 7 20 18z"/><rect x="47.4" y="26.4" width="21.2" '
    'height="13.2" rx="6.6"/><rect x="23.4" y="40.5" width="19.2" height="12" rx="6"/><rect '
    'x="65.4" y="40.5" width="19.2" height="12" rx="6"/></g></svg>'
)


def symbols() -> str:
    """Return the definitions that `icon` refers to, once a page."""
    parts = (f'<symbol id="m-{n}" viewBox="0 0 16 16">{b}</symbol>' for n, b in SYMBOLS.items())
    return (
        '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def icon(name: str, classes: str = "", label: str = "", style: str = "") -> str:
    """Return one of `SYMBOLS`; without a label it is for the eye alone."""
    said = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    styled = f' style="{style}"' if style else ""
    kind = f' class="{classes}"' if classes else ""
    return f'<svg{kind} viewBox="0 0 16 16" {said}{styled}><use href="#m-{name}"/></svg>'


def figure(title: str, note: str, body: str, key: str = "") -> str:
    """Return a figure; note, body and key are markup, the key a row of list items."""
    keys = f'<ul class="key">{key}</ul>' if key else ""
    notes = f"<p>{note}</p>" if note else ""
    return f"<figure><figcaption><h3>{escape(title)}</h3>{notes}{keys}</figcaption>{body}</figure>"


def section(ident: str, question: str, answer: str, *body: str) -> str:
    """Return a section: the heading asks, `answer` (markup) answers, figures show why."""
    return (
        f'<section id="{ident}" aria-labelledby="{ident}-h"><h2 id="{ident}-h">'
        f'<a href="#{ident}">{escape(question)}</a></h2><p class="answer">{answer}</p>'
        f"{''.join(body)}</section>"
    )


def fold(title: str, note: str, body: str, long: bool = False) -> str:
    """Return a fold of markup; a long one stays closed in print."""
    kind = ' class="long"' if long else ""
    return (
        f"<details{kind}><summary>{escape(title)}<small>{escape(note)}</small></summary>"
        f'<div class="fold">{body}</div></details>'
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a list of definitions."""
    items = (f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{"".join(items)}</dl>'


def percent(share: float, digits: int = 1) -> str:
    """Return a share as "41.7%"."""
    return f"{100 * share:.{digits}f}%" if math.isfinite(share) else NOT_FINITE


def number(value: float, digits: int = 0, sign: bool = False) -> str:
    """Return a number with a true minus and thousands separated."""
    if not math.isfinite(value):
        return NOT_FINITE
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    # No change has no direction.
    text = text if any(digit in text for digit in "123456789") else text.lstrip("+-")
    return text.replace("-", _MINUS)


def score(value: float, unit: str) -> str:
    """Return a score in its unit: "41.7%" or "1,196.2"."""
    return percent(value) if unit == "share" else number(value, 1)


def bare(value: float, unit: str) -> str:
    """Return a score without the sign of its unit."""
    return number(100 * value if unit == "share" else value, 1)


def change(value: float, unit: str) -> str:
    """Return a change in points with its sign."""
    return number(100 * value if unit == "share" else value, 1, sign=True)


def interval(low: str, high: str) -> str:
    """Return the bounds of an interval."""
    return f'<span class="nb">[{low}, {high}]</span>'


def plural(count: int, noun: str) -> str:
    """Return "1 layer", "1,200 layers"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
