"""Relaxed accuracy, ChartQA's metric: numbers may be off by 5 percent, all else must be equal.

Masry et al., "ChartQA" (Findings of ACL 2022), section 5.1. The reading of numbers is that of
pix2struct, which lmms-eval and VLMEvalKit take over: "%" divides by 100, commas and units make a
text of a number, and a true value of 0 is compared as text.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Largest difference, as a share of the true value.
TOLERANCE = 0.05


def relaxed(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 where the answer is within 5% of an accepted number, or is an accepted text.

    Case and spaces around the answer do not count; lmms-eval keeps the spaces.
    """
    said = answer.strip()
    return float(any(_same(said, one) for one in accepted))


def number(text: str) -> float | None:
    """Return the number that a text is; a percentage is divided by 100; None for other texts."""
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _same(said: str, truth: str) -> bool:
    value, wanted = number(said), number(truth)
    # A truth of 0 has no share to be off by, and is compared as text.
    if value is not None and wanted:
        # What is no number compares as false, so "nan" and "inf" are wrong.
        return abs(value - wanted) / abs(wanted) <= TOLERANCE
    return said.lower() == truth.lower()
