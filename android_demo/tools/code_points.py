"""Letters, numbers and spaces as the tokenizer's regular expressions see them, as a Kotlin table.

Android's Unicode tables differ from version to version, and so would token ids; the app carries the
sets that the Python tokenizer uses. `python -m android_demo.tools.code_points FILE` writes
`CodePointTables.kt` again after a new version of `tokenizers`; a test compares both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

#: Every code point that text can hold.
POINTS = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
_BLOCK = 4096
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@cache
def letters() -> frozenset[int]:
    """Return the members of a regular expression's class of letters."""
    return _of_expression(r"\p{L}+")


@cache
def numbers() -> frozenset[int]:
    """Return the members of a regular expression's class of numbers."""
    return _of_expression(r"\p{N}+")


@cache
def spaces() -> frozenset[int]:
    """Return the members of a regular expression's class of white space."""
    return _of_expression(r"\s+")


@cache
def numeric() -> frozenset[int]:
    """Return what the pre-tokenizer `Digits` takes for a digit."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    # Two letters between all points: what is no digit never stands alone.
    return frozenset(
        ord(piece)
        for block in _blocks()
        for piece, _ in digits.pre_tokenize_str("aa" + "aa".join(block) + "aa")
        if len(piece) == 1
    )


def kotlin() -> str:
    """Return the source of `CodePointTables.kt`."""
    tables = "\n".join(
        f"    const val {name} =\n{literal([base36(run) for run in _runs(members)])}"
        for name, members in (
            ("LETTERS", letters()),
            ("NUMBERS", numbers()),
            ("NUMERIC", numeric()),
        )
    )
    return (
        "/*\n"
        " * Sets of code points, written by `python -m android_demo.tools.code_points`.\n"
        " *\n"
        " * Lengths in base 36 of alternating runs, outside and inside of the set, from code\n"
        " * point 0 on; `CodePoints` reads them.\n"
        " */\n"
        "package org.hydramobile.core\n\n"
        f"internal object CodePointTables {{\n{tables}\n}}\n"
    )


def _of_expression(expression: str) -> frozenset[int]:
    others = pre_tokenizers.Split(Regex(expression), "removed")
    kept = {
        ord(character)
        for block in _blocks()
        for piece, _ in others.pre_tokenize_str(block)
        for character in piece
    }
    return frozenset(POINTS) - kept


def _blocks() -> Iterator[str]:
    for at in range(0, len(POINTS), _BLOCK):
        yield "".join(map(chr, POINTS[at : at + _BLOCK]))


def _runs(members: frozenset[int]) -> list[int]:
    """Return lengths of runs outside and inside of a set, in turn."""
    borders = [point for point in range(0x110001) if (point in members) != (point - 1 in members)]
    return [border - before for before, border in zip([0, *borders], borders, strict=False)]


def literal(words: list[str]) -> str:
    """Return words as an expression of Kotlin: a string with spaces between them."""
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 96:
            lines.append(line)
            line = ""
        line += word + " "
    lines.append(line.rstrip())
    # ktlint wants the lines after the first indented once more.
    return "        " + " +\n            ".join(f'"{line}"' for line in lines)


def base36(number: int) -> str:
    """Return a number from 0 on in base 36."""
    text = _DIGITS[number % 36]
    while number := number // 36:
        text = _DIGITS[number % 36] + text
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(kotlin(), encoding="utf-8")
