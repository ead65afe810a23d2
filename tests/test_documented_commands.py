"""Every command that README and docs show is one that the program takes.

Here each is parsed as the program parses it: verbs, options, their types and their choices. The
tutorial's are run, in its order, by `test_tutorial.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import HydraError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
#: Usage lines of the generated page; the examples below them count.
_USAGE = re.compile(r"\[(OPTIONS|ARGS)\]|\[[A-Z]+\.\.\.\]|COMMAND")


def commands(page: Path) -> list[str]:
    """Return the command lines of a page's blocks, continued lines joined."""
    found = []
    for language, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "sh", "bash", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            text = line.strip().removeprefix("$ ")
            if text.startswith("hydra-mobile ") and not _USAGE.search(text):
                found.append(text)
    return found


ALL = [(page.relative_to(ROOT).as_posix(), text) for page in PAGES for text in commands(page)]


def words_of(text: str) -> list[str]:
    words = shlex.split(text, comments=True)
    ends = [i for i, word in enumerate(words) if word in ("&&", "|", ">", ";", "&")]
    return words[1 : ends[0] if ends else None]


def parse(words: list[str]) -> None:
    """Parse as the program does, down to the verb; nothing is run."""
    # Typer brings its own copy of click: no class of click's is named here.
    command: Any = typer.main.get_command(app)
    context, name = None, "hydra-mobile"
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, list(words), parent=context)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, words = command.resolve_command(context, rest)
    command.make_context(name, list(words), parent=context)


def complaint(words: list[str]) -> str:
    """Return what the parser says against a command; "" where it takes it."""
    try:
        parse(words)
    except Exception as error:
        told = getattr(error, "format_message", None)
        if told is None and getattr(error, "exit_code", None) == 0:
            return ""  # --help and --version end by themselves
        if told is None and not isinstance(error, HydraError):
            raise
        return str(told()) if told else str(error)
    return ""


def test_the_pages_show_commands() -> None:
    shown = {page for page, _ in ALL}
    assert {"README.md", "docs/tutorial.md", "docs/data.md"} <= shown
    assert len(ALL) > 40


@pytest.mark.parametrize(("page", "text"), ALL, ids=lambda value: str(value)[:60])
def test_a_documented_command_is_one_that_the_program_takes(page: str, text: str) -> None:
    assert complaint(words_of(text)) == ""


def test_a_wrong_option_is_found() -> None:
    assert "--no-such" in complaint(words_of("hydra-mobile export RUN --no-such 1"))
    assert "exportt" in complaint(words_of("hydra-mobile exportt RUN"))
