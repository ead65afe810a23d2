"""Several steps of one command, a line each: its state, what it found, and how long it took.

On a terminal the lines are live; elsewhere a step says when it begins and when it ends, and now and
then what it is doing. What happens inside of a step goes to the log file.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from hydra_mobile.cli.ui.formats import clock
from hydra_mobile.cli.ui.layout import width_of, wrapped
from hydra_mobile.cli.ui.live import PLAIN_SECONDS
from hydra_mobile.cli.ui.screen import MARKS, Screen, painted, screen
from hydra_mobile.core.progress import SilentStage

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

State = Literal["waiting", "running", "done", "failed"]
_MARKS: dict[State, str] = {
    "waiting": " ",
    "running": "\u2026",
    "done": MARKS["good"],
    "failed": MARKS["bad"],
}
_STYLES: dict[State, str] = {"waiting": "dim", "running": "", "done": "good", "failed": "bad"}
# Lines are no longer than this, so that times stay near what they belong to.
_WIDEST = 80
_NAME, _TIME = 11, 9
_PER_SECOND = 4


@dataclass
class Step:
    """One step of a board.

    Attributes:
        name: of the step.
        state: where it is.
        text: what it is doing, or what it found.
        seconds: that it took; None before its end.
        began: clock when it began.
        heard: is called after each `say`.
    """

    name: str
    state: State = "waiting"
    text: str = ""
    seconds: float | None = None
    began: float = 0.0
    heard: Callable[[], None] = field(default=lambda: None, repr=False)

    def say(self, text: str) -> None:
        """Say what the step does now, or at last what it found."""
        self.text = text
        self.heard()


class Board:
    """The steps of a command; a context manager.

    Args:
        names: of the steps, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.steps = [Step(name) for name in names]
        self._at: Screen = screen()
        self._live: Live | None = None
        self._spoke = 0.0

    def __enter__(self) -> Board:
        if self._at.progress == "bar":
            from rich.live import Live

            self._live = Live(
                console=self._at.console(),
                get_renderable=self._drawn,
                refresh_per_second=_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Open a step; at its end its last text is its result."""
        step = next(each for each in self.steps if each.name == name)
        step.state, step.began = "running", time.monotonic()
        self._announce(step, "begins")
        if self._live is None:
            self._spoke = step.began
            step.heard = lambda: self._now_and_then(step)
        try:
            yield step
        except BaseException:
            step.state = "failed"
            step.seconds = time.monotonic() - step.began
            self._announce(step, "stopped")
            raise
        step.state, step.seconds = "done", time.monotonic() - step.began
        self._announce(step, "done")

    def log(self, text: str) -> None:
        """Write a line to the log file alone."""
        self._at.log.write(text)

    def _now_and_then(self, step: Step) -> None:
        """Say what a long step does, as often as other progress without a terminal."""
        if step.state == "running" and time.monotonic() - self._spoke >= PLAIN_SECONDS:
            self._spoke = time.monotonic()
            self._announce(step, step.text)

    def _announce(self, step: Step, what: str) -> None:
        number = f"{self.steps.index(step) + 1}/{len(self.steps)}"
        text = [] if step.seconds is None else [step.text, clock(step.seconds)]
        line = ", ".join([f"{number} {step.name} {what}", *(part for part in text if part)])
        at = datetime.datetime.now().strftime("%H:%M:%S")
        if self._live is None and self._at.progress != "none":
            self._at.err(f"{at} {line}")
        else:
            self._at.log.write(line)

    def lines(self, width: int) -> list[tuple[str, str]]:
        """Return the board as lines of at most `width` cells, each with its style."""
        found = []
        for number, step in enumerate(self.steps, 1):
            head = f"{number}/{len(self.steps)}  {step.name:<{_NAME}}{_MARKS[step.state]}  "
            seconds = step.seconds
            if step.state == "running":
                seconds = time.monotonic() - step.began
            room = width - width_of(head) - _TIME
            first, *rest = wrapped(step.text, room)
            line = f"{head}{first}"
            if seconds is not None:
                line += " " * (width - width_of(line) - _TIME) + f"{clock(seconds):>{_TIME}}"
            found.append((line.rstrip(), _STYLES[step.state]))
            found += [(" " * width_of(head) + each, "") for each in rest]
        return found

    def _drawn(self) -> Text:
        from rich.text import Text

        colored = self._at.colors(sys.stderr)
        lines = []
        for line, style in self.lines(min(self._at.width, _WIDEST)):
            # The mark stands behind number and name.
            at = 5 + _NAME
            marked = style in ("good", "bad") and colored
            lines.append(f"{line[:at]}{painted(line[at:], style)}" if marked else line)
        return Text.from_ansi("\n".join(lines))


class StepStage(SilentStage):
    """A stage of work inside a step: its numbers are the step's text."""

    def __init__(self, board: Board, step: Step, name: str, total: int, start: int) -> None:
        self._board, self._step, self._name, self._total = board, step, name, total
        self._start, self._began = start, time.monotonic()

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Show how far it is."""
        self._step.say(
            progress_text(
                self._name,
                step,
                self._total,
                (time.monotonic() - self._began) / max(1, step - self._start),
                facts,
            )
        )

    def note(self, text: str) -> None:
        """Write it to the log."""
        self._board.log(text)


class StepProgress:
    """Progress of library functions as the text of a step."""

    def __init__(self, board: Board, step: Step) -> None:
        self._board, self._step = board, step

    def stage(self, name: str, total: int, start: int, unit: str) -> StepStage:
        """Return the stage to open."""
        return StepStage(self._board, self._step, name, total, start)


def progress_text(name: str, step: int, total: int, seconds_each: float, facts: str = "") -> str:
    """Return how far work is, for example "stage2 96/155, loss 1.214, 2:05 left"."""
    left = (total - step) * seconds_each
    parts = [f"{name} {step:,}/{total:,}", facts]
    if 0 < step < total and left >= 1:
        parts.append(f"{clock(left)} left")
    return ", ".join(part for part in parts if part)
