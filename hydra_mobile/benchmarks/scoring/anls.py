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
    """Return the Levenshtein distance: the fewest characters to insert, delete or replace.

    A column of the table is two numbers with a bit for each character, up and down by one, and
    takes a dozen operations (Hyyrö, "A Bit-Vector Algorithm for Computing Levenshtein and Damerau
    Edit Distances", 2003): answers without end have thousands of characters.
    """
    if not other:
        return len(one)
    places: dict[str, int] = {}
    for place, character in enumerate(other):
        places[character] = places.get(character, 0) | 1 << place
    every, last = (1 << len(other)) - 1, 1 << len(other) - 1
    up, down, found = every, 0, len(other)
    for character in one:
        equal = places.get(character, 0)
        across = (((equal & up) + up) ^ up) | equal
        right, left = down | (every & ~(across | up)), up & across
        found += bool(right & last) - bool(left & last)
        right, left = (right << 1 | 1) & every, left << 1 & every
        equal |= down
        up, down = left | (every & ~(equal | right)), right & equal
    return found


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
