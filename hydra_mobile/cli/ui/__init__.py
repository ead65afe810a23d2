"""What a verb says, and how it is shown: text on a terminal or in a pipe, or one JSON document.

A verb calls the functions here with data and returns a `Result`; it formats nothing itself and
knows no terminal. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

from hydra_mobile.cli.ui.layout import Column
from hydra_mobile.cli.ui.screen import (
    Settings,
    blank,
    bullet,
    facts,
    going_on,
    line,
    log_beside,
    note,
    prepare,
    say,
    screen,
    step,
    table,
    text,
    title,
    verdict,
    warn,
)
from hydra_mobile.cli.ui.verb import Result, add, aliases, new_app

__all__ = [
    "Column",
    "Result",
    "Settings",
    "add",
    "aliases",
    "blank",
    "bullet",
    "facts",
    "going_on",
    "line",
    "log_beside",
    "new_app",
    "note",
    "prepare",
    "say",
    "screen",
    "step",
    "table",
    "text",
    "title",
    "verdict",
    "warn",
]
