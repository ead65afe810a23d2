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

#: What VLMEvalKit takes for a refusal, and the marks that it takes for spaces.
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_NO_ANSWER = "Failed to obtain answer via API"
_LAST_WORDS = 4
_NO_WORDS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))

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


def read_option_vlmevalkit(answer: str, options: Sequence[str]) -> str:
    """Read MMBench's letter as VLMEvalKit's exact matching does (`can_infer`, no judge model).

    First a letter that is the only one of the options among the words of the answer, and stands
    among its last four (the position where it stands first counts); else the one option whose text
    the answer holds, unless the answer is twice as long as all options together. "A" as an article
    counts as a letter, as it does there. Its earlier versions took a letter at any position.

    Args:
        answer: the model's.
        options: texts of A, B, ...

    Returns:
        A letter of the options, or "" where none can be read or the answer is a refusal.
    """
    letters = ascii_uppercase[: len(options)]
    if _NO_ANSWER not in answer:
        if any(refusal in answer for refusal in _REFUSALS):
            return ""
        words = answer.translate(_NO_WORDS).split()
        named = [letter for letter in letters if letter in words]
        if len(named) == 1 and words.index(named[0]) > len(words) - 1 - _LAST_WORDS:
            return named[0]
        if not named and "Z" in words:  # its letter for "none of these"
            return ""
    lower = answer.lower()
    if len(lower) > 2 * sum(map(len, options)):
        return ""
    held = [x for x, option in zip(letters, options, strict=True) if option.lower() in lower]
    return held[0] if len(held) == 1 else ""


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
