"""Counts lines, words and numbers of Markdown: how much a reader has to read.

    python -m docs.build.counts                         # README.md
    git show COMMIT:README.md | python -m docs.build.counts -

Prose is what is outside of code blocks, tables, pictures and comments.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

_CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_TARGET = re.compile(r"\]\([^)]*\)")
_TABLE = re.compile(r"^ *\|.*$", re.MULTILINE)
#: A figure by itself; those in names (`int4`, `SmolVLM2`, a version) are none.
_NUMBER = re.compile(r"(?<![\w.`:/-])[-+]?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")


class Counts(NamedTuple):
    """Lines and words of a file, tables and code included; words and numbers of its prose."""

    lines: int
    words: int
    prose_words: int
    prose_numbers: int


def prose(text: str) -> str:
    """Return Markdown without code blocks, tables, pictures, comments and targets of links."""
    for pattern in (_CODE, _COMMENT, _PICTURE, _TABLE):
        text = pattern.sub("", text)
    return _TARGET.sub("]", text)


def counts(text: str) -> Counts:
    """Count a page of Markdown."""
    read = prose(text)
    numbers = len(_NUMBER.findall(re.sub(r"`[^`]*`", "", read)))
    return Counts(len(text.splitlines()), len(text.split()), len(read.split()), numbers)


def main() -> None:
    for name in sys.argv[1:] or ["README.md"]:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        found = counts(text)
        print(
            f"{name}: {found.lines:,} lines, {found.words:,} words; in prose "
            f"{found.prose_words:,} words and {found.prose_numbers:,} numbers"
        )


if __name__ == "__main__":
    main()
