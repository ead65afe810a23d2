"""The console of the command line, its progress, and what every verb does first."""

from __future__ import annotations

from rich.console import Console

from hydra_mobile.core.console_progress import ConsoleProgress
from hydra_mobile.core.quiet import quiet

console = Console(highlight=False)
progress = ConsoleProgress(console)


def prepare() -> None:
    """Call at the start of a verb, before its heavy imports."""
    quiet()


def say(text: str) -> None:
    """Print one line as it is, never wrapped in the middle of a path."""
    console.print(text, soft_wrap=True, markup=False)
