"""TextVQA's metric: how two short answers are made comparable, and what an answer is worth.

The rules are those of the M4C evaluator (EvalAI's), its slips included, so that scores compare
with published ones. Pure functions of strings; used by the benchmark TextVQA.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

#: Each of these is deleted where it stands next to a space, or where the text has a comma between
#: digits; else it becomes a space. Of TextVQA's answers `,` and `?` are gone before.
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_COMMA = re.compile(r"\d,\d")

# The evaluator means "a period with no digit before or after it", but writes `(?!<=\d)` for
# `(?<!\d)`, which is always true; and it passes the flag re.UNICODE (32) where the count belongs.
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32

_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS.split())} | {"none": "0"}

_ARTICLES = frozenset(("a", "an", "the"))

#: Spellings that lack one apostrophe are mended to these.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't
    what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd
    you'd've you'll you're you've
"""

_MENDED = {
    right[:at] + right[at + 1 :]: right
    for right in _CONTRACTIONS.split()
    for at, character in enumerate(right)
    if character == "'"
    # This one the evaluator's table has the wrong way round.
} | {"somebody'd": "somebodyd"}

#: Worth of an answer that 0, 1, 2, 3, 4 or more of the ten annotators gave.
_WORTH = (0.0, 0.3, 0.6, 0.9, 1.0)


@lru_cache(maxsize=65536)
def normalize(answer: str) -> str:
    """Return an answer in the form in which the M4C evaluator compares it."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return in_words(without_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def in_words(text: str) -> str:
    """Return a text as the evaluators' words: digits, no articles, mended contractions."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


def without_punctuation(text: str) -> str:
    """Return a text without punctuation, by the evaluators' rule of what stands beside it."""
    bare = text
    between_digits = _DIGITS_COMMA.search(text) is not None
    for mark in _PUNCTUATION:
        # Decided by the text as it came, not by what earlier marks left of it.
        beside_space = f"{mark} " in text or f" {mark}" in text or between_digits
        bare = bare.replace(mark, "" if beside_space else " ")
    return _PERIOD.sub("", bare, count=_MOST_PERIODS)


def soft_accuracy(answer: str, given: Sequence[str]) -> float:
    """Return what an answer is worth: 0, 0.3, 0.6, 0.9 or 1.

    The evaluator takes, for each of ten annotators, min(1, m / 3) with m the matches among the
    other nine, and their mean. Of k matching annotators each sees k - 1 others and each of the
    rest sees k, so the mean depends on k alone.

    Args:
        answer: the model's.
        given: the annotators' ten answers.

    Raises:
        ValueError: there are not ten.
    """
    if len(given) != 10:
        raise ValueError(f"{len(given)} answers: the metric is defined for ten")
    wanted = normalize(answer)
    return _WORTH[min(4, sum(normalize(other) == wanted for other in given))]
