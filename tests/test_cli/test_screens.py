"""The main screens in narrow, usual and wide windows, with and without color, on a dumb terminal.

Held is the structure: what stands in which order, that nothing is cut and no word is broken. What
the sentences say is free.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable

import pytest
import typer
from made_report import make_report

from hydra_mobile.cli import ui
from hydra_mobile.cli.main import app
from hydra_mobile.cli.ui.board import Board
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.cli.ui.screen import Settings
from hydra_mobile.cli.ui.verb import perform
from hydra_mobile.reporting.write import write_report

WIDTHS = (60, 80, 120)
GROUPS = ["", *(n for n, c in typer.main.get_command(app).commands.items() if not c.hidden)]
_COLORS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Run = Callable[..., tuple[int, str, str]]


def require_whole(narrow: str, wide: str, width: int) -> None:
    """Hold a screen against the same one in a window that is wide enough for all of it."""
    words = set(wide.split())
    for line in narrow.splitlines():
        # A path, a key or a command word is never broken: alone it may be longer.
        assert len(line) <= width or len(line.split()) == 1, line
        broken = [
            word for word in line.split() if word not in words | {"\\"} and "\u2500" not in word
        ]
        assert not broken, (line, broken)


def screens(run_verb: Run, monkeypatch: pytest.MonkeyPatch, *words: object) -> dict[int, str]:
    """Run a command in each width; return what it prints, results and the rest."""
    found = {}
    for width in (*WIDTHS, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, err = run_verb(*words)
        assert "Traceback" not in err
        # A C++ library writes through Python's own stream, which the tests have replaced.
        found[width] = re.sub(r"(?m)^\[\w+\.cpp:\d+\].*\n", "", out + err)
        assert code in (0, 2, 3)
    return found


def in_order(text: str, *words: str) -> None:
    places = [text.find(word) for word in words]
    assert -1 not in places, dict(zip(words, places, strict=True))
    assert places == sorted(places), dict(zip(words, places, strict=True))


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUPS)
def test_help_is_whole_in_every_window(run_verb, monkeypatch, name):
    found = screens(run_verb, monkeypatch, *name.split(), "--help")
    for width in WIDTHS:
        # It is at most 79 wide, whatever the window.
        require_whole(found[width], found[80] if width == 60 else found[300], width)
        assert f"Usage: {' '.join(['hydra-mobile', *name.split()])}" in found[width]
    panels = ("Start", "Train", "Export", "Check", "Phone", "Convert", "Options for every command")
    if not name:
        for width in WIDTHS:
            in_order(found[width], *(f"\n{panel}\n" for panel in panels))


# -- plans, results --------------------------------------------------------------------------------


def test_the_plan_of_a_run(run_verb, monkeypatch, tiny_base, tiny_settings, tmp_path):
    from hydra_mobile.api.training import plan_training
    from hydra_mobile.cli.work_view import training_facts

    # No other test trains rows of this length, so that nothing was measured of the kind.
    work = plan_training(None, *tiny_settings, "data.max_length=97")

    def show() -> ui.Result:
        ui.title("Training a run")
        ui.facts(training_facts(work), result=True)
        return ui.Result()

    found = shown(monkeypatch, show)
    for width in WIDTHS:
        require_whole(found[width], found[300], width)
        names = [line.split()[0] for line in found[width].splitlines() if re.match(r"  \S", line)]
        assert names == ["base", "data", "trains", "ranks", "steps", "machine", "disk", "estimate"]
    assert "unknown" in found[120]


def test_a_comparison_of_models(run_verb, monkeypatch, tmp_path):
    write_report(make_report(), tmp_path / "a")
    found = screens(run_verb, monkeypatch, "report", tmp_path / "a", "--out", tmp_path / "b")
    names = [system.name for system in make_report().systems]
    for width in WIDTHS:
        require_whole(found[width], found[300], width)
        in_order(found[width], *names[:2], "Verdict")
        in_order(found[width], "Verdict", "report.html")
    # Narrower windows leave whole columns out, the last ones first.
    heads = [found[width].splitlines() for width in (*WIDTHS, 300)]
    titles = [re.split(r" {2,}", lines[at - 1].strip()) for lines in heads for at in rules(lines)]
    assert all(few == many[: len(few)] for few, many in itertools.pairwise(titles))
    assert len(titles[0]) < len(titles[-1])


def rules(lines: list[str]) -> list[int]:
    """Return where a table's rule is."""
    return [at for at, line in enumerate(lines) if line.strip() and not line.strip(" \u2500")]


def test_the_steps_of_a_check(run_verb, monkeypatch, exported):
    found = screens(run_verb, monkeypatch, "verify", exported("onnx"))
    for width in WIDTHS:
        require_whole(found[width], found[300], width)
        # In a narrow window a table turns into names and values.
        in_order(found[width], "part", "measured", "needed")
        in_order(found[width], "Verifying", "Next", "hydra-mobile evaluate")
        assert "\u2713" in found[width]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["train", "stage2.learning_rat=1"], ["error:", "stage2.learning_rat"]),
        (["export", "runs/x", "--preset", "q4_k_m"], ["error:", "where", "found", "fix"]),
        (["evaluate", "smol", "--benchmarks", "pop"], ["error:", "where", "expected", "fix"]),
        (["merge", "a/" + "long-name-" * 12], ["error:", "where", "--", "MODEL"][:2]),
        (["trian"], ["error:", "fix"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_error_has_its_fields_in_order(run_verb, monkeypatch, words, fields):
    found = screens(run_verb, monkeypatch, *words)
    for width in WIDTHS:
        require_whole(found[width], found[300], width)
        in_order(found[width], *fields)


# -- color and dumb terminals ----------------------------------------------------------------------


@pytest.mark.parametrize("words", [["config"], ["trian"], ["benchmarks"]], ids=" ".join)
def test_color_adds_nothing_but_color(run_verb, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    plain = run_verb(*words, "--color", "never")
    painted = run_verb(*words, "--color", "always")
    assert "\x1b[" not in plain[1] + plain[2]
    assert _COLORS.sub("", painted[1] + painted[2]) == plain[1] + plain[2]


def shown(
    monkeypatch: pytest.MonkeyPatch, verb: Callable[[], ui.Result | None], **settings: object
) -> dict[int, str]:
    """Show a verb in each width, as on a terminal; return what is left when it is done."""
    found = {}
    monkeypatch.delenv("CI", raising=False)
    for width in (*WIDTHS, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        streams = Terminal(), Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            assert perform("made", Settings(**settings), False, verb) == 0
        found[width] = streams[0].text + streams[1].text
    return found


class Terminal:
    """A stream that is a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return None

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no file")


def long_work() -> ui.Result:
    with progress.stage("vision features", 4_000, 0, "images") as stage:
        stage.note("a note of some length that stays above the bar while work goes on")
        for step in range(1_000, 5_000, 1_000):
            stage.advance(step, 1_000, "loss 1.284", 4 * 2**30)
    return ui.Result()


def test_a_bar_fits_its_window(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("hydra_mobile.cli.ui.live._REDRAW_SECONDS", 0.0)
    found = shown(monkeypatch, long_work)
    for width in WIDTHS:
        frames = [
            line for line in re.split(r"[\r\n]", _COLORS.sub("", found[width])) if line.strip()
        ]
        assert max(map(len, frames)) <= width, max(frames, key=len)
        bars = [line for line in frames if "\u2501" in line]
        assert any("1,000/4,000" in line and "25%" in line for line in bars)
        assert any("loss 1.284" in line for line in frames)
        assert any(re.match(r"  \u2713 vision features +4,000 images +0:0\d", f) for f in frames)


@pytest.mark.parametrize("reason", ["TERM", "CI", "option"])
def test_a_dumb_terminal_gets_lines(monkeypatch, reason):
    monkeypatch.setenv("TERM", "dumb" if reason == "TERM" else "xterm")

    def work() -> ui.Result:
        if reason == "CI":
            monkeypatch.setenv("CI", "1")
        return long_work()

    settings = {"progress": "lines", "color": "never"} if reason == "option" else {}
    found = shown(monkeypatch, work, **settings)
    for width in WIDTHS:
        assert "\x1b" not in found[width]
        assert "\u2501" not in found[width]
        assert "4,000 images" in found[width]


def steps() -> ui.Result:
    with Board(["fetch", "data", "train"]) as board:
        with board.step("fetch") as step:
            step.say("downloading")
            time.sleep(0.3)
            step.say("base smol, 556 MB, and a result that is longer than a narrow window is wide")
        with board.step("data") as step:
            step.say("1,530 images")
        with pytest.raises(ValueError, match="broken"), board.step("train"):
            raise ValueError("broken")
    return ui.Result()


def test_a_board_has_a_line_for_each_step(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    found = shown(monkeypatch, steps)
    for width in WIDTHS:
        text = _COLORS.sub("", found[width]).replace("\r", "\n")
        lines = [line for line in text.split("\n") if line.strip()]
        assert max(map(len, lines)) <= min(width, 80)
        assert any(re.match(r"1/3  fetch +\u2026  downloading +0:0\d", line) for line in lines)
        first = max(at for at, line in enumerate(lines) if line.startswith("1/3"))
        last = lines[first:]
        assert re.match(r"1/3  fetch +\u2713  base smol, 556 MB.* +0:0\d", last[0])
        said = re.sub(r" 0:\d\d ", " ", " ".join(" ".join(last[:-2]).split()))
        assert said.endswith("and a result that is longer than a narrow window is wide")
        assert re.match(r"2/3  data +\u2713  1,530 images +0:0\d", last[-2])
        assert re.match(r"3/3  train +\u2717", last[-1])


def test_a_board_without_a_terminal_says_when_a_step_begins_and_ends(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    lines = shown(monkeypatch, steps)[80].splitlines()
    said = [line[9:] for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line.split(",")[0] for line in said] == [
        "1/3 fetch begins",
        "1/3 fetch done",
        "2/3 data begins",
        "2/3 data done",
        "3/3 train begins",
        "3/3 train stopped",
    ]


def test_a_board_without_a_terminal_says_what_a_long_step_does(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("hydra_mobile.cli.ui.board.PLAIN_SECONDS", 0.25)
    said = [line for line in shown(monkeypatch, steps)[80].splitlines() if "1/3 fetch" in line]
    assert len(said) == 3
    assert "base smol, 556 MB" in said[1]
