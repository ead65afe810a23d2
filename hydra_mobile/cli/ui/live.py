"""Progress on the terminal: one bar and one line of facts; in a pipe a line now and then."""

from __future__ import annotations

import datetime
import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from hydra_mobile.cli.ui.formats import clock
from hydra_mobile.cli.ui.layout import fitted, plain
from hydra_mobile.cli.ui.screen import Screen, screen

if TYPE_CHECKING:
    from rich.live import Live

_BAR, _LEAST_BAR = 30, 8
# A pipe gets a line this often; time left goes by this much of the past, from some seconds on.
PLAIN_SECONDS = 30.0
_WINDOW_SECONDS = 60.0
_FIRST_SECONDS = 5.0
_REDRAW_SECONDS = 0.2


class LiveStage:
    """One stage of long work; a context manager.

    Args:
        at: the screen.
        name: of the work.
        total: steps at its end.
        start: steps that are done already.
        unit: plural of what is counted for the rate.
    """

    def __init__(self, at: Screen, name: str, total: int, start: int, unit: str) -> None:
        self._at, self._name, self._total, self._unit = at, name, total, unit
        self._began = self._last_line = time.monotonic()
        self._step = start
        self._units = 0
        self._recent: deque[tuple[float, int, int]] = deque([(self._began, start, 0)])
        self._live: Live | None = None
        self._drawn = 0.0

    def __enter__(self) -> LiveStage:
        if self._at.progress == "bar":
            from rich.live import Live

            self._live = Live(
                console=self._at.console(),
                transient=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
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
        if kind is None and self._step >= self._total:
            from hydra_mobile.cli.ui.screen import step

            done = self._counted(" of ")
            if self._units == self._total and self._name != self._unit:
                done = f"{self._total:,} {self._unit}"
            step(self._name, done, self.seconds)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        """Say a line above the live ones."""
        if self._live:
            # rich must move its lines down before ours is written.
            self._at.log.write(text)
            for line in fitted(plain(f"  {text}"), self._at.width):
                self._live.console.print(line, markup=False, soft_wrap=True)
        else:
            self._at.err(f"  {text}")

    def advance(self, step: int, units: int, facts: str = "", peak_memory: int = 0) -> None:
        """Report that `step` steps are done, `units` more units in the last one."""
        now = time.monotonic()
        self._step = step
        self._units += units
        self._recent.append((now, step, self._units))
        while len(self._recent) > 2 and now - self._recent[0][0] > _WINDOW_SECONDS:
            self._recent.popleft()
        if self._live:
            if now - self._drawn >= _REDRAW_SECONDS or step >= self._total:
                self._drawn = now
                from rich.text import Text

                self._live.update(Text("\n".join(self._lines(facts, peak_memory))), refresh=True)
        elif self._at.progress == "lines" and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            at = datetime.datetime.now().strftime("%H:%M:%S")
            parts = [f"{self._name} {self._counted()}", facts, self._rate(), self._left()]
            parts.append(_memory(peak_memory))
            self._at.err(f"{at} {', '.join(part for part in parts if part)}")

    def _lines(self, facts: str, peak_memory: int) -> list[str]:
        """Return the bar and what stands below it; what does not fit is left out whole."""
        width = self._at.width
        share = min(1.0, self._step / max(1, self._total))
        counted = f"{share:>4.0%} {self._counted():>9}"
        shown = [part for part in (self._left(), _memory(peak_memory)) if part]
        name = f"  {self._name[:10]:<11}"
        while True:
            right = "".join(f"   {part}" for part in shown)
            room = width - len(name) - len(counted) - len(right) - 1
            if room >= _LEAST_BAR or not shown:
                break
            shown.pop()
        cells = min(_BAR, max(room, 1))
        full = round(share * cells)
        bar = "\u2501" * max(0, full - 1)
        bar += "\u2578" if 0 < full < cells else "\u2501" * (full > 0)
        bar += "\u2500" * (cells - full)
        below = [part for part in (facts, self._rate()) if part]
        while below and len(name) + len("   ".join(below)) > width:
            below.pop()
        return [f"{name}{bar} {counted}{right}", " " * len(name) + "   ".join(below)]

    def _counted(self, between: str = "/") -> str:
        """Return how far it is; a stage named by its units advances by others, as megabytes."""
        named_by_units = self._name == self._unit
        return f"{self._units:,}" if named_by_units else f"{self._step:,}{between}{self._total:,}"

    def _rate(self) -> str:
        began, _, units = self._recent[0]
        passed = self._recent[-1][0] - began
        if passed < 1 or self._units == units:
            return ""
        rate = (self._units - units) / passed
        return f"{rate:.1f} {self._unit}/s" if rate < 100 else f"{rate:,.0f} {self._unit}/s"

    def _left(self) -> str:
        began, step, _ = self._recent[0]
        passed = self._recent[-1][0] - began
        if self.seconds < _FIRST_SECONDS or self._step <= step or self._step >= self._total:
            return ""
        return f"{clock(passed / (self._step - step) * (self._total - self._step))} left"


def _memory(peak: int) -> str:
    return f"{peak / 2**30:.1f} GiB" if peak else ""


class LiveProgress:
    """Shows the stages of long work on the current screen."""

    def stage(self, name: str, total: int, start: int, unit: str) -> LiveStage:
        """Return the stage to open."""
        return LiveStage(screen(), name, total, start, unit)


progress = LiveProgress()


class Loading:
    """Says "loading ..." after a second of waiting; a context manager."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> Loading:
        import threading

        self._timer = threading.Timer(1.0, self._show)
        self._timer.daemon = True
        self._timer.start()
        return self

    def _show(self) -> None:
        if screen().progress != "none" and sys.stderr is not None:
            screen().err(f"  loading {self._what}")

    def __exit__(self, *what: object) -> None:
        self._timer.cancel()
