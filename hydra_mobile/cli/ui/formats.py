"""Figures as people read them: sizes, counts, times."""

from __future__ import annotations


def count(number: int) -> str:
    """Return "1,234"."""
    return f"{number:,}"


def megabytes(size: float) -> str:
    """Return a size on disk in decimal units, for example "103 MB", "1.6 GB" or "4.2 KB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{size:.0f} bytes"


def mebibytes(size: float) -> str:
    """Return a size in memory in MiB, without the unit, for example "152.1"."""
    return f"{size / 2**20:,.1f}"


def gibibytes(size: float) -> str:
    """Return a size in memory in GiB, without the unit, for example "7.6"."""
    return f"{size / 2**30:,.1f}"


def clock(seconds: float) -> str:
    """Return "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """Return a time that is estimated, for example "40 s", "15 min" or "2 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 24 and rest else f"{hours} h"


def millions(number: int) -> str:
    """Return a count of weights, for example "4.88 M", "139 M" or "1.37 B"."""
    for unit, factor in (("B", 1e9), ("M", 1e6)):
        if number >= factor:
            value = number / factor
            return f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"
    return f"{number:,}"
