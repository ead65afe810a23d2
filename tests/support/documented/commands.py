"""Collects the commands of README and docs: blocks in `sh`, and the examples of docs/cli.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
#: The generated page of the command line; its examples are in blocks of text.
REFERENCE = "docs/cli.md"
_SECTION = re.compile(r"^## hydra-mobile (.+?)$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_EXAMPLES = re.compile(r"^Examples\n(.*?)\n\n", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`hydra-mobile ([a-z][^`]*)`")


class Command(NamedTuple):
    """A command as it is shown: `unit`, the page (of the reference, the verb); and its text."""

    unit: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, without a comment."""
        # shlex would take `bundle#adapter` for a comment; a shell wants a space before it.
        return shlex.split(re.sub(r"\s#.*", "", self.text))


def name_of(page: Path) -> str:
    """Return a page's path below the project."""
    return page.relative_to(ROOT).as_posix()


def lines_of(block: str) -> list[str]:
    """Return the commands of a block, continued lines joined."""
    return [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def _of(page: Path) -> list[Command]:
    text, name = page.read_text(encoding="utf-8"), name_of(page)
    if name != REFERENCE:
        shown = [block for language, block in BLOCK.findall(text) if language == "sh"]
        return [Command(name, line) for block in shown for line in lines_of(block)]
    return [
        Command(f"{name} {verb}", line)
        for verb, section in _SECTION.findall(text)
        for block in _EXAMPLES.findall(section)
        for line in lines_of(block)
    ]


def all_commands() -> list[Command]:
    """Return the commands of all pages, in their order."""
    return [command for page in PAGES for command in _of(page)]


def mentions() -> list[tuple[str, str]]:
    """Return page and words of each command that stands in a sentence, perhaps not whole."""
    return [
        (name_of(page), text)
        for page in PAGES
        if name_of(page) != REFERENCE
        for text in _INLINE.findall(page.read_text(encoding="utf-8"))
    ]
