"""Writes the help of every command into docs/cli.md.

python -m docs.build.cli
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from hydra_mobile.cli.main import app

PAGE = Path(__file__).parents[1] / "cli.md"

_MARK = "<!-- the commands, made by docs.build.cli -->\n\n"


def page() -> str:
    """Return docs/cli.md: its own words, and below the mark the help of every command."""
    root: Any = typer.main.get_command(app)
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(_MARK)
    before = os.environ.get("COLUMNS")
    # Whatever the width of this terminal.
    os.environ["COLUMNS"] = "80"
    try:
        sections = _section(root, None, "hydra-mobile")
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return "".join([head, mark, *sections]).rstrip() + "\n"


def _section(command: Any, parent: Any, name: str) -> list[str]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    title = context.command_path
    lines = [f"## {title}\n\n```text\n{command.get_help(context)}\n```\n\n"]
    inside = getattr(command, "commands", {})
    order = getattr(command, "order", ()) or tuple(inside)
    for each in sorted(inside, key=lambda n: order.index(n) if n in order else len(order)):
        if not inside[each].hidden:
            lines += _section(inside[each], context, each)
    return lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
