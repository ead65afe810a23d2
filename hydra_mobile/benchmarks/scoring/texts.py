"""Answers that are right word for word, or that hold the right one."""

from __future__ import annotations

from collections.abc import Sequence

_MARKS = "\"'`.,;:!? \t\n"


def plain(answer: str) -> str:
    """Return an answer for comparing: lower case, single spaces, without marks around it."""
    return " ".join(answer.casefold().split()).strip(_MARKS)


def exact(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 where the answer is an accepted one, case, spaces and marks around it aside."""
    said = plain(answer)
    return float(any(said == plain(one) for one in accepted))


def contains(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 where the answer holds an accepted one anywhere (OCRBench's rule).

    Both in lower case, line ends as spaces, without spaces around them, as OCRBench's own code and
    VLMEvalKit compare; an accepted answer without text is never held.
    """
    said = _flat(answer).lower()
    return float(any(_flat(one).lower() in said for one in accepted if one.strip()))


def contains_formula(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 where the answer holds an accepted formula: spaces do not count (OCRBench)."""
    said = _flat(answer).replace(" ", "")
    return float(any(_flat(one).replace(" ", "") in said for one in accepted if one.strip()))


def _flat(text: str) -> str:
    return text.strip().replace("\n", " ")
