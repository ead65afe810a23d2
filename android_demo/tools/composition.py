"""Unicode's canonical composition as the tokenizer's NFC computes it, as a Kotlin table.

Platforms' own tables grow from version to version, and so would token ids; the app carries those of
the Python tokenizer. `python -m android_demo.tools.composition FILE` writes `CompositionTables.kt`
again after a new version of `tokenizers`; a test compares both.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path

from tokenizers import normalizers

from android_demo.tools.code_points import POINTS, base36, literal

#: Syllables that arithmetic decomposes.
_HANGUL = range(0xAC00, 0xAC00 + 19 * 21 * 28)
#: No text holds it beside the ones that are told apart here.
_BETWEEN = "\0"


@cache
def decompositions() -> dict[int, str]:
    """Return what code points are decomposed into, those of Hangul left out."""
    points = [point for point in POINTS if point and point not in _HANGUL]
    found = _each([chr(point) for point in points], normalizers.NFD())
    return {p: into for p, into in zip(points, found, strict=True) if into != chr(p)}


@cache
def excluded() -> frozenset[int]:
    """Return the code points that are decomposed and never composed again."""
    points = list(decompositions())
    found = _each([chr(point) for point in points], normalizers.NFC())
    return frozenset(p for p, into in zip(points, found, strict=True) if into != chr(p))


@cache
def classes() -> dict[int, int]:
    """Return the combining classes that are not 0, found by which marks change places."""
    single = [p for p in POINTS if p and p not in decompositions() and p not in _HANGUL]
    # Of the lowest class and of the highest, as old as combining marks are.
    low, high = "\u0334", "\u0345"
    marks = [
        p
        for p, before, behind in zip(
            single,
            _swapped([high + chr(p) for p in single]),
            _swapped([chr(p) + low for p in single]),
            strict=True,
        )
        if before or behind
    ]
    # The classes' numbers are Unicode's, and stay; a mark that is newer here has one of them.
    known: dict[int, str] = {}
    for point in marks:
        known.setdefault(unicodedata.combining(chr(point)), chr(point))
    known.pop(0, None)
    order = sorted(known)
    # As many classes are below a mark's as there are marks that it changes places with.
    below = [_swapped([chr(p) + known[number] for number in order]) for p in marks]
    return {p: order[sum(found)] for p, found in zip(marks, below, strict=True)}


def kotlin() -> str:
    """Return the source of `CompositionTables.kt`."""
    return (
        "/*\n"
        " * Unicode's canonical composition, by `python -m android_demo.tools.composition`.\n"
        " *\n"
        " * Numbers are in base 36. DECOMPOSITIONS: distance from the code point before, and\n"
        " * what it is decomposed into; a minus: it is never composed again. CLASSES: distance\n"
        " * from the end of the run before, length of the run, combining class.\n"
        " */\n"
        "package org.hydramobile.core\n\n"
        "internal object CompositionTables {\n"
        f"    const val DECOMPOSITIONS =\n{literal(_decomposed_words())}\n"
        f"    const val CLASSES =\n{literal(_class_words())}\n"
        "}\n"
    )


def _decomposed_words() -> list[str]:
    words, before = [], 0
    for point, into in sorted(decompositions().items()):
        parts = [point - before, *map(ord, into)]
        words.append(("-" if point in excluded() else "") + ",".join(map(base36, parts)))
        before = point
    return words


def _class_words() -> list[str]:
    words, end = [], 0
    found = sorted(classes().items())
    runs = groupby(enumerate(found), key=lambda item: (item[1][0] - item[0], item[1][1]))
    for (_, number), members in runs:
        points = [point for _, (point, _) in members]
        words.append(",".join(map(base36, (points[0] - end, len(points), number))))
        end = points[-1] + 1
    return words


def _each(texts: list[str], normalizer: normalizers.Normalizer) -> list[str]:
    """Return each text normalized, by itself."""
    return normalizer.normalize_str(_BETWEEN.join(texts)).split(_BETWEEN)


def _swapped(pairs: list[str]) -> list[bool]:
    """Return whether the marks of each pair change places behind a letter."""
    found = _each(["a" + pair for pair in pairs], normalizers.NFD())
    return [one != "a" + pair for one, pair in zip(found, pairs, strict=True)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(kotlin(), encoding="utf-8")
