"""What a person sees while long work runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_PLAIN_EVERY_SECONDS = 15.0


def duration(seconds: float) -> str:
    """Return "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class StageProgress:
    """Progress of one stage; a context manager."""

    def __init__(self, console: Console, name: str, total: int, start: int, unit: str) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._start = start
        self._unit = unit
        self._began = time.monotonic()
        self._last_line = self._began
        self._done_units = 0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}  {task.fields[facts]}"),
                TimeElapsedColumn(),
                console=console,
            )
            self._task = self._bar.add_task(name, total=total, completed=start, facts="")

    def __enter__(self) -> StageProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def rate(self) -> float:
        """Return units per second since the start."""
        return self._done_units / max(1e-9, time.monotonic() - self._began)

    def note(self, text: str) -> None:
        """Print a line above the live one."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Report that `step` steps are done, `units` more units in the last one."""
        self._done_units += units
        now = time.monotonic()
        done_here = max(1, step - self._start)
        left = (now - self._began) / done_here * (self._total - step)
        parts = [facts, f"{self.rate():.1f} {self._unit}/s", f"{duration(left)} left"]
        if peak_memory:
            parts.append(f"{peak_memory / 2**30:.1f} GiB peak")
        line = "  ".join(part for part in parts if part)
        if self._bar:
            self._bar.update(self._task, completed=step, facts=line)
        elif now - self._last_line > _PLAIN_EVERY_SECONDS or step in (self._start + 1, self._total):
            self._last_line = now
            self._console.print(
                f"{self._name} {step}/{self._total}  {line}", highlight=False, soft_wrap=True
            )


@contextlib.contextmanager
def counted(console: Console, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback `(done, total, what)` that shows progress from its first call on."""
    with contextlib.ExitStack() as stack:
        bar: StageProgress | None = None
        last = 0

        def progress(done: int, total: int, what: str) -> None:
            nonlocal bar, last
            if bar is None:
                bar = stack.enter_context(StageProgress(console, what, total, 0, unit))
            bar.advance(done, done - last)
            last = done

        yield progress
