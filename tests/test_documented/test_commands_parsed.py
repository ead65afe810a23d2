"""Every command that README and docs show is one that the program takes.

Here each is parsed as the program parses it: verbs, options, their types and their choices.
`test_commands_run.py` runs them.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
import typer
from documented.commands import (
    BLOCK,
    PAGES,
    REFERENCE,
    ROOT,
    Command,
    all_commands,
    mentions,
    name_of,
)

from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import HydraError

MENTIONED = mentions()
OURS = [command for command in all_commands() if command.words[0] == "hydra-mobile"]


def words_of(text: str) -> list[str]:
    words = Command("", text).words
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
    shown = {command.unit for command in OURS}
    assert {"README.md", "docs/tutorial.md", "docs/data.md", "docs/cli.md train"} <= shown
    assert len(OURS) > 80


def test_every_block_says_what_it_is() -> None:
    """A block without a language would hide its commands from the tests, and so would indents."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert "" not in {language for language, _ in BLOCK.findall(text)}, page
        if name_of(page) != REFERENCE:
            assert not re.search(r"^    hydra-mobile ", text, re.MULTILINE), page


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.text[:60])
def test_a_documented_command_is_one_that_the_program_takes(command: Command) -> None:
    assert complaint(words_of(command.text)) == ""


@pytest.mark.parametrize(("page", "text"), MENTIONED, ids=lambda value: str(value)[:60])
def test_a_command_in_a_sentence_has_options_that_the_program_takes(page: str, text: str) -> None:
    found = complaint(shlex.split(text))
    # A sentence may leave out what a command needs, but name nothing that it does not take.
    assert not found or re.search("^Missing |requires an argument", found), found


def test_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [
        extra
        for command in all_commands()
        if command.words[:2] == ["pip", "install"]
        for group in re.findall(r"\[([\w,-]+)\]", command.text)
        for extra in group.split(",")
    ]
    assert named
    assert set(named) <= set(extras["optional-dependencies"])


def test_a_wrong_option_is_found() -> None:
    assert "--no-such" in complaint(words_of("hydra-mobile export RUN --no-such 1"))
    assert "exportt" in complaint(words_of("hydra-mobile exportt RUN"))
