"""ANLS, the average normalized Levenshtein similarity of DocVQA and InfographicVQA.

Biten et al., "Scene Text Visual Question Answering" (ICCV 2019), equation 1, with threshold 0.5:
an answer counts for its similarity to the nearest accepted one, and for nothing below one half.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Similarities below this are 0.
THRESHOLD = 0.5


def anls(answer: str, accepted: Sequence[str]) -> float:
    """Return an answer's similarity to the nearest accepted one, 0 below one half.

    Both in lower case with single spaces, lengths taken after that, as VLMEvalKit does. lmms-eval
    and the evaluator of the challenge divide by the lengths before spaces are dropped, which
    differs only where there are needless ones.
    """
    said = _plain(answer)
    best = max((similarity(said, _plain(one)) for one in accepted), default=0.0)
    return best if best >= THRESHOLD else 0.0


def similarity(one: str, other: str) -> float:
    """Return 1 - edit distance / length of the longer text; 1 for two empty texts."""
    longest = max(len(one), len(other))
    return 1.0 - distance(one, other) / longest if longest else 1.0


def distance(one: str, other: str) -> int:
    """Return the Levenshtein distance: the fewest characters to insert, delete or replace."""
    if len(one) < len(other):
        one, other = other, one
    above = list(range(len(other) + 1))
    for row, character in enumerate(one, 1):
        current = [row]
        for column, wanted in enumerate(other, 1):
            replaced = above[column - 1] + (character != wanted)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
