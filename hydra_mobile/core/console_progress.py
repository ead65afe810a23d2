"""Progress with rich: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hydra_mobile.core.progress import duration

_PLAIN_EVERY_SECONDS = 15.0


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


class ConsoleProgress:
    """`core.progress.Progress` on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, name: str, total: int, start: int, unit: str) -> StageProgress:
        """Return a stage on the console."""
        return StageProgress(self._console, name, total, start, unit)
