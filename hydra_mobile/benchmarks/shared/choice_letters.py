"""How the letter of a multiple-choice answer is read: MMBench's rules and ScienceQA's.

Pure functions of strings; neither guesses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

#: `X.`, `(X)` or `X)` at the start.
_MARKED = re.compile(r"(?:([A-Z])\.|\(([A-Z])\)|([A-Z])\))")
#: ScienceQA's letters; a question has two to five choices.
_FIVE = "ABCDE"
#: The last dot is any character, as in LLaVA's script, so a letter that ends the text is not read.
_STATED = re.compile(r"The answer is ([A-Z]).")

FAILED = "FAILED"


def is_none(text: str) -> bool:
    """Say whether LLaVA takes a cell for missing: empty, "nan" or "none" in any case.

    A true option "None" is lost by this rule, in every published score too.
    """
    return text.lower() in ("", "nan", "none")


def read_option(answer: str, options: Sequence[str]) -> str:
    """Read MMBench's letter: alone, marked at the start, or told by the text of one option.

    Args:
        answer: the model's.
        options: texts of A, B, ...

    Returns:
        A letter of the options, or "" where none can be read; never a guess.
    """
    letters = ascii_uppercase[: len(options)]
    told = answer.strip()
    if len(told) == 1 and told in letters:
        return told
    marked = _MARKED.match(told)
    if marked:
        letter = next(group for group in marked.groups() if group)
        if letter in letters:
            return letter
    same = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if told and option.strip().lower() == told.lower()
    ]
    return same[0] if len(same) == 1 else ""


def read_scienceqa(answer: str) -> str:
    """Read ScienceQA's letter as LLaVA's script does: exact, "X. ...", or "The answer is X.".

    Returns:
        A letter, perhaps beyond the question's choices, or "FAILED".
    """
    if len(answer) == 1 and answer in _FIVE:
        return answer
    if len(answer) >= 3 and answer[0] in _FIVE and answer[1:3] == ". ":
        return answer[0]
    stated = _STATED.findall(answer)
    return stated[0] if len(stated) == 1 else FAILED
