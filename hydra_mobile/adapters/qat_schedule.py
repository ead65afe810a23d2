"""When training sees 4-bit weights, and when their scales are searched for (`qat.py`).

Apart from that module, so that whoever only counts steps does not import peft.
"""

from __future__ import annotations

#: Steps between two searches for scales.
_RENEW_EVERY = 25


def first_step(share: float, steps: int) -> int:
    """Return the step (from 0) from which the last `share` of the steps sees 4-bit weights."""
    return steps - max(1, round(share * steps))


def renews(step: int, first: int, steps: int) -> bool:
    """Whether scales are searched for before a step, `first` being the first with 4-bit weights.

    Counted from the end, so that the last step sees the scales that export will find.
    """
    return step == first or (steps - 1 - step) % _RENEW_EVERY == 0
