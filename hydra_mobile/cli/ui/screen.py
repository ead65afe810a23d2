"""Where text goes: standard output for results, standard error for the rest, all of it to the log.

One `Screen` per command; the functions below are what verbs call, and speak to the current one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from hydra_mobile.cli.ui.formats import clock
from hydra_mobile.cli.ui.layout import Column, fitted, named, plain, table_lines, width_of, wrapped
from hydra_mobile.cli.ui.log import Log, attach, detach

if TYPE_CHECKING:
    from rich.console import Console

When = Literal["auto", "always", "never"]
How = Literal["auto", "bar", "lines", "none"]

_COLORS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
MARKS = {
    "good": "\u2713",
    "bad": "\u2717",
    "warn": "!",
    "unknown": "?",
    "none": " ",
}
# Where the output cannot hold them.
_ASCII = str.maketrans(
    {
        "\u2713": "ok",
        "\u2717": "FAIL",
        "\u2500": "-",
        "\u2501": "=",
        "\u2013": "-",
        "\u2014": "-",
        "\u2192": "->",
        "\u00d7": "x",
        "\u00b0": " deg",
        "\u00b7": ".",
    }
)
_WIDEST, _NARROWEST = 100, 60
# A path that was broken in two can be neither searched for nor copied.
_UNLIMITED = 100_000


@dataclass(frozen=True)
class Settings:
    """The options that every command has.

    Attributes:
        json: print one JSON document in place of text.
        quiet: print results and errors only.
        verbose: print details too.
        color: when to color.
        progress: how to show that work goes on.
        log: where the log goes; None: beside the result.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: When = "auto"
    progress: How = "auto"
    log: Path | None = None


class Screen:
    """The output of one command.

    Args:
        settings: its common options.
        command: its words, as typed.
        brief: whether `-q` prints the result's one line and nothing else on standard output.
    """

    def __init__(
        self, settings: Settings, command: Sequence[str] = (), brief: bool = False
    ) -> None:
        self.settings = settings
        self.command = list(command)
        self.brief = brief
        self.warnings: list[str] = []
        self.log = Log(["hydra-mobile", *command])
        if settings.log:
            settings.log.absolute().parent.mkdir(parents=True, exist_ok=True)
            self.log.place(settings.log.absolute())
        # Of several processes that torchrun started only the first speaks.
        self.leads = os.environ.get("RANK", "0") == "0"
        self.kept = ""
        self.goes_on: tuple[str, ...] = ()
        self._said = {"out": False, "err": False}
        self._closed = False
        self._handler = attach(self.log)

    def close(self) -> None:
        """Let go of the loggers."""
        detach(self._handler)

    # -- what the streams can do -------------------------------------------------------------

    @property
    def width(self) -> int:
        """Cells of a line, from 60 to 100; COLUMNS wins. In a file or a pipe, lines stay whole."""
        if not os.environ.get("COLUMNS", "").isdigit() and not sys.stderr.isatty():
            return _UNLIMITED
        columns = shutil.get_terminal_size((_WIDEST, 24)).columns
        return max(_NARROWEST, min(_WIDEST, columns))

    def limit(self, stream: TextIO) -> int | None:
        """Cells that a line of a stream may have; None where nobody looks at it in a window."""
        named = os.environ.get("COLUMNS", "").isdigit()
        return self.width if named or stream.isatty() else None

    def colors(self, stream: TextIO) -> bool:
        """Whether `stream` gets colors."""
        when = self.settings.color
        if when != "auto":
            return when == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return _is_terminal(stream) and not os.environ.get("CI")

    @property
    def progress(self) -> Literal["bar", "lines", "none"]:
        """How progress is shown here."""
        how = self.settings.progress
        if self.settings.quiet or not self.leads:
            return "none"
        if how != "auto":
            return how
        return "bar" if _is_terminal(sys.stderr) and not os.environ.get("CI") else "lines"

    def console(self) -> Console:
        """Return a rich console on standard error, for live lines."""
        from rich.console import Console

        return Console(
            stderr=True,
            highlight=False,
            markup=False,
            quiet=self.progress == "none",
            force_terminal=self.progress == "bar" if self.settings.progress != "auto" else None,
            no_color=not self.colors(sys.stderr),
        )

    # -- writing -----------------------------------------------------------------------------

    def out(self, text: str, style: str = "") -> None:
        """Write a line of the result to standard output."""
        self.log.write(text)
        if self.settings.json or not self.leads or (self.settings.quiet and self.brief):
            return
        self._write(sys.stdout, text, style)
        self._said["out"] = True

    def err(self, text: str, style: str = "", always: bool = False) -> None:
        """Write a line to standard error; `always`: in spite of --quiet."""
        self.log.write(text)
        if (self.settings.quiet or not self.leads) and not always:
            return
        self._write(sys.stderr, text, style)
        self._said["err"] = True

    def raw(self, text: str, end: str = "\n") -> None:
        """Write to standard output exactly this, whatever the options say."""
        self._put(sys.stdout, text + end)

    def gap(self, stream: Literal["out", "err"]) -> None:
        """Write a blank line unless it would be the first."""
        if self._said[stream]:
            self.out("") if stream == "out" else self.err("")

    def _write(self, stream: TextIO, text: str, style: str) -> None:
        limit = self.limit(stream)
        lines = fitted(plain(text), limit) if limit else [plain(text)]
        if self.colors(stream):
            # Of a mark only the first line has one.
            whole = style in ("bold", "dim")
            lines = [painted(t, style) if whole or n == 0 else t for n, t in enumerate(lines)]
        self._put(stream, "\n".join(lines) + "\n")

    def _put(self, stream: TextIO, text: str) -> None:
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
        if not encoding.startswith("utf"):
            text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
        if self._closed and stream is sys.stdout:
            return
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            # Whoever read has enough (`| head`); the work goes on, without a word.
            if stream is sys.stdout:
                self._closed = True
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def painted(text: str, style: str) -> str:
    """Return `text` in a style; a mark at its beginning has the style's color alone."""
    code = _COLORS.get(style)
    if code is None:
        return text
    if style in ("bold", "dim"):
        return f"\x1b[{code}m{text}\x1b[0m"
    stripped = text.lstrip()
    before, mark = text[: len(text) - len(stripped)], stripped[:1]
    return f"{before}\x1b[{code}m{mark}\x1b[0m{stripped[1:]}"


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


_current: Screen | None = None


def screen() -> Screen:
    """Return the screen of the command that runs."""
    global _current
    if _current is None:
        _current = Screen(Settings())
    return _current


def show_on(made: Screen | None) -> None:
    """Make `made` the current screen in place of the one before; None: leave none."""
    global _current
    if _current is not None:
        _current.close()
    _current = made


# -- what verbs call -------------------------------------------------------------------------


def prepare() -> None:
    """Call before a verb's heavy imports."""
    from hydra_mobile.core.quiet import quiet

    quiet()


def title(text: str) -> None:
    """Say what will be done, and to what."""
    screen().err(text, "bold")


def facts(values: Mapping[str, str], result: bool = False) -> None:
    """Say inputs, place and cost, as name and value; those without a value are left out.

    Args:
        values: name -> value; lines of a value stand below each other.
        result: whether they are what the command was asked for.
    """
    at = screen()
    for name, value in values.items():
        if value:
            for line_ in named(name, value, at.width):
                at.out(line_) if result else at.err(line_)


def step(name: str, found: str = "", seconds: float | None = None, good: bool = True) -> None:
    """Say that a step is done: what it found, and how long it took."""
    at = screen()
    mark = MARKS["good" if good else "bad"]
    text = f"  {mark} {name:<17} {found}".rstrip()
    if seconds is not None:
        text += " " * max(2, min(at.width, 80) - width_of(text) - 8) + f"{clock(seconds):>7}"
    at.err(text, "good" if good else "bad")


def say(text: str) -> None:
    """Say a line beside the work; the `log` of library functions."""
    screen().err(f"  {text}" if text else "")


def note(text: str) -> None:
    """Say a line that explains a result."""
    at = screen()
    for line_ in wrapped(text, at.width - 2):
        at.err(f"  {line_}", "dim")


def warn(text: str) -> None:
    """Say what may spoil the result, and how to be rid of it; once per command, also in JSON."""
    at = screen()
    if text in at.warnings:
        return
    at.warnings.append(text)
    first, *rest = wrapped(text, at.width - 4)
    at.err(f"  ! {first}", "warn")
    for line_ in rest:
        at.err(f"    {line_}")


def line(text: str = "") -> None:
    """Print a line of the result."""
    screen().out(text)


def text(words: str) -> None:
    """Print a paragraph of the result, indented and broken into lines."""
    at = screen()
    for line_ in wrapped(words, at.width - 2):
        at.out(f"  {line_}")


def blank() -> None:
    """Print a blank line between two parts of the result."""
    screen().gap("out")


def bullet(mark: str, text: str) -> None:
    """Print a line of the result with a mark: good, bad, warn, unknown or none."""
    at = screen()
    first, *rest = wrapped(text, at.width - 4)
    at.out(f"  {MARKS[mark]} {first}", mark)
    for line_ in rest:
        at.out(f"    {line_}")


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print a table of the result, and notes below it."""
    at = screen()
    at.gap("out")
    for number, line_ in enumerate(table_lines(columns, list(rows), at.width)):
        at.out(line_, "bold" if number == 0 else "")
    for text in notes:
        for line_ in wrapped(text, at.width - 2):
            at.out(f"  {line_}", "dim")


def verdict(good: bool | None, text: str) -> None:
    """Print what the result means: it holds, it does not, or that is not decided."""
    at = screen()
    at.gap("out")
    mark = "unknown" if good is None else "good" if good else "bad"
    first, *rest = wrapped(f"{MARKS[mark]} {text}", at.width)
    at.out(first, mark)
    for line_ in rest:
        at.out(f"  {line_}")


def log_beside(folder: Path, verb: str) -> None:
    """Keep the log in `folder`/logs/`verb`.log, from the moment on that `folder` exists."""
    at = screen()
    if at.settings.log is None:
        at.log.place(folder / "logs" / f"{verb}.log")


def going_on(kept: str, *commands: str) -> None:
    """Say what stays if the command is interrupted now, and what to type to go on."""
    at = screen()
    at.kept, at.goes_on = kept, commands
