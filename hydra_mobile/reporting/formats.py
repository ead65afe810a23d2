"""Numbers as people read them: percent, megabytes, milliseconds; a dash for "not measured"."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "\u2013"
"""The en dash: between the bounds of an interval, and alone for "not measured"."""

TIMES = "\u00d7"
NOT_FINITE = "not finite"


def number(value: float | None, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits, without an exponent where that is short."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return NOT_FINITE
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -3 <= magnitude <= 6:
        mantissa, _, exponent = f"{value:.{max(digits - 2, 0)}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def gain(value: float | None) -> str:
    """Return a gain with its sign, e.g. "+0.0042"; the dash when it is not known."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return NOT_FINITE
    return f"{value:+.2g}".replace("-", "\u2212", 1)


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share in [0, 1] as percent, without the sign."""
    if share is None:
        return DASH
    if not math.isfinite(share):
        return NOT_FINITE
    text = f"{100 * share:.{decimals}f}"
    # 299 of 300 000 wrong answers must not read as none.
    if share < 1 and float(text) == 100:
        return f"{100 - 10**-decimals:.{decimals}f}"
    return text


def interval(low: float, high: float) -> str:
    """Return an interval of shares as percent, e.g. "73.5–82.8"."""
    return f"{percent(low)}{DASH}{percent(high)}"


def score(value: float | None, unit: str) -> str:
    """Return a score in its unit: a share as percent, points with one decimal."""
    if unit == "share" or value is None:
        return percent(value)
    return f"{value:,.1f}" if math.isfinite(value) else NOT_FINITE


def score_interval(low: float, high: float, unit: str) -> str:
    """Return the interval of a score in its unit."""
    return f"{score(low, unit)}{DASH}{score(high, unit)}"


def sign_of(unit: str) -> str:
    """Return what stands behind a score: "%" or "points"."""
    return "%" if unit == "share" else "points"


def change(value: float | None, unit: str) -> str:
    """Return a change with its sign: hundredths of a share, or points. "+0.4", "\u22121.25"."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return NOT_FINITE
    shown = 100 * value if unit == "share" else value
    text = f"{shown:+.1f}" if abs(shown) >= 9.95 or unit == "points" else f"{shown:+.2f}"
    # No change has no direction.
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "\u2212", 1)


def change_interval(low: float, high: float, unit: str) -> str:
    """Return the interval of a change; "to", because a dash between signs cannot be read."""
    return f"{change(low, unit)} to {change(high, unit)}"


def megabytes(count: int | None) -> str:
    """Return bytes as MB (10⁶ bytes)."""
    return number(None if count is None else count / 1e6)


def milliseconds(seconds: float | None) -> str:
    """Return seconds as ms."""
    return number(None if seconds is None else seconds * 1e3)


def count(value: int | None) -> str:
    """Return a whole number with thousands separated."""
    return DASH if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """Return seconds as "42 s", "3 min 12 s" or "2 h 05 min"."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{number(seconds, 2)} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def ratio(value: float | None) -> str:
    """Return a ratio, e.g. "3.4×"."""
    return DASH if value is None else f"{number(value, 2 if value < 10 else 3)}{TIMES}"


def score_label(value: float, unit: str) -> str:
    """Return a score for a label in a picture: points without decimals."""
    return score(value, unit) if unit == "share" else f"{value:,.0f}"


def few(names: Sequence[str], most: int = 3) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def shortened(text: str, most: int) -> str:
    """Return a text as one line of at most `most` characters; "(nothing)" for none."""
    line = " ".join(text.split()) or "(nothing)"
    return line if len(line) <= most else f"{line[: most - 1]}…"
