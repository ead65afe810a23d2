"""How long work reports itself: lines to a log and stages with a total; who shows them is open.

A library function takes `log: Log` for its lines and, where it works for minutes, `progress:
Progress`. Both are silent by default. The command line draws bars; a notebook or another program
passes its own object, which needs no base class.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

#: Receives one finished line of text, without a line break.
Log = Callable[[str], None]


class Stage(Protocol):
    """One piece of work with a known total; a context manager that is open while it runs."""

    def __enter__(self) -> Stage: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Report progress.

        Args:
            step: steps done so far, out of the stage's total.
            units: units of work that the last report did not count yet, for the rate.
            facts: a phrase on the state, for example "loss 0.61".
            peak_memory: bytes; 0 where it is not known.
        """

    def note(self, text: str) -> None:
        """Report an event with one line that stays."""


class Progress(Protocol):
    """Shows the stages of long work."""

    def stage(self, name: str, total: int, start: int, unit: str) -> Stage:
        """Return the stage to open.

        Args:
            name: of the work, for example "stage2".
            total: steps at its end.
            start: steps that are done already.
            unit: plural of what `Stage.advance` counts in `units`, for example "samples".
        """


class SilentStage:
    """A stage that shows nothing."""

    def __enter__(self) -> SilentStage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""


class SilentProgress:
    """Progress that shows nothing: the default of every function that takes one."""

    def stage(self, name: str, total: int, start: int, unit: str) -> SilentStage:
        """Return a stage that shows nothing."""
        return SilentStage()


SILENT = SilentProgress()

#: Seconds between two lines of a stage that is written to a log.
_EVERY_SECONDS = 15.0


class LogStage:
    """A stage as lines of a log: at its first and last step, and every fifteen seconds."""

    def __init__(self, log: Log, name: str, total: int, start: int, unit: str) -> None:
        self._log = log
        self._name = name
        self._total = total
        self._start = start
        self._unit = unit
        self._units = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> LogStage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Write a line if it is due."""
        self._units += units
        now = time.monotonic()
        due = now - self._last > _EVERY_SECONDS or step in (self._start + 1, self._total)
        if not due:
            return
        self._last = now
        seconds = max(1e-9, now - self._began)
        left = seconds / max(1, step - self._start) * (self._total - step)
        parts = [f"{self._name} {step}/{self._total}", facts]
        parts.append(f"{self._units / seconds:.1f} {self._unit}/s")
        if peak_memory:
            parts.append(f"{peak_memory / 2**30:.1f} GiB")
        parts.append(f"ETA {duration(left)}")
        self._log("  ".join(part for part in parts if part))

    def note(self, text: str) -> None:
        """Write the line."""
        self._log(text)


class LogProgress:
    """Progress as lines of a log: for notebooks, and wherever nothing can be drawn."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def stage(self, name: str, total: int, start: int, unit: str) -> LogStage:
        """Return a stage that writes lines."""
        return LogStage(self._log, name, total, start, unit)


def silent(line: str) -> None:
    """Drop a line of log."""


def duration(seconds: float) -> str:
    """Return "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def counted(progress: Progress, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback `(done, total, what)` that opens a stage at its first call."""
    with contextlib.ExitStack() as stack:
        stage: Stage | None = None
        last = 0

        def count(done: int, total: int, what: str) -> None:
            nonlocal stage, last
            if stage is None:
                stage = stack.enter_context(progress.stage(what, total, 0, unit))
            stage.advance(done, done - last)
            last = done

        yield count
