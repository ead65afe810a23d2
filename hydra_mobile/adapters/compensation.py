"""What of a module falls as r_ref / rank, so that a higher rank does not move W faster.

At one scale s and one learning rate a module of twice the rank moves s B A about twice as far per
step of Adam: a rank map is also a map of learning rates. Against that a module's scale can be
s * r_ref / rank, or its learning rate can fall so, or both, or neither.

A learning rate of a module's own needs no parameter group: a step of Adam has the size of the rate
whatever the size of the gradient, so a tensor that is stored c times as large moves 1 / c as far,
relative to itself. With c = rank / r_ref, A and B are stored c times as large and the scale of
their product is divided by c^2. So every choice is a scale and a size of A for each rank; saving
folds the scale into B as ever, and readers need to know nothing. (With SGD, whose step grows with
the gradient, the rate falls as the square.)
"""

from __future__ import annotations

from typing import Literal

Compensate = Literal["neither", "scale", "rate", "both"]
"""What of a module falls as r_ref / rank."""


def scale_at(rank: int, r_ref: int, alpha_ref: float, compensate: Compensate = "neither") -> float:
    """Return the factor on B A, as the tensors are stored, of a module of `rank`."""
    scale = alpha_ref / r_ref
    if rank == r_ref:
        return scale
    power = {"neither": 0, "scale": 1, "rate": 2, "both": 3}[compensate]
    return scale * (r_ref / rank) ** power


def size_at(rank: int, r_ref: int, compensate: Compensate = "neither") -> float:
    """Return how many times its own size A is stored at."""
    return rank / r_ref if compensate in ("rate", "both") else 1.0


def words(compensate: Compensate, r_ref: int) -> str:
    """Return what falls as a phrase; "" for nothing."""
    falls = {"scale": "scale falls", "rate": "learning rate falls", "both": "scale and rate fall"}
    return f"{falls[compensate]} as {r_ref} / rank" if compensate in falls else ""
