"""Every command of README and docs is run, page by page, as a reader would who follows the page.

A page's folder has what the page presupposes (`documented.presupposed`), and its commands are run
in their order. Base `tiny` stands in for bases that are downloads, and settings of a training of
seconds are appended where a command trains (`documented.shortened`). What cannot be run here is in
`documented.elsewhere`, with its reason and the test that stands in for it; commands of experiments
take hours, and their words are read by the experiment's own parser.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_fixtures import Exported, Once
from documented.commands import ROOT, Command, all_commands
from documented.elsewhere import ELSEWHERE, elsewhere
from documented.presupposed import PRESUPPOSED, SLOW
from documented.shortened import shortened
from documented.things import Source
from local_hub import LocalHub

Verb = Callable[..., tuple[int, str, str]]

#: What no command of a page names: data of benchmarks and recipes, images of records, and the
#: base that `shortened` puts in.
NAMED_ELSEWHERE = ("images", "benchmark_data", "data/", "imported")
COMMANDS = all_commands()
UNITS = sorted({command.unit for command in COMMANDS if not elsewhere(command)})


class Parsed(Exception):
    """The words of an experiment's command were read."""


@pytest.fixture(scope="session")
def source(
    once: Once,
    run_settings: Callable[[Path], list[str]],
    shapes_data: Path,
    exported: Exported,
    smolvlm_base: Path,
    tiny_base: Path,
) -> Source:
    return Source(once, run_settings, shapes_data, exported, smolvlm_base)


class Reader:
    """Types the commands of a page in a folder that has what the page presupposes."""

    def __init__(self, source: Source, folder: Path, verb: Verb, patch: pytest.MonkeyPatch) -> None:
        self._source, self._folder, self._verb, self._patch = source, folder, verb, patch

    def prepare(self, unit: str) -> None:
        for name, make in PRESUPPOSED.get(unit, {}).items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            make(self._source, self._folder / name)
        self._patch.chdir(self._folder)
        if (self._folder / "cache").is_dir():
            self._patch.setenv("HYDRA_MOBILE_HOME", str(self._folder / "cache"))

    def run(self, command: Command) -> None:
        words = command.words
        program, *rest = words
        if program == "hydra-mobile":
            self._hydra_mobile(rest, command.text)
        elif program == "make":
            self._shell(["make", "-n", *rest], ROOT)
        elif program == "torchrun":
            self._torchrun(rest)
        elif words[:2] == ["python", "-m"]:
            self._experiment(rest[1], rest[2:])
        else:
            pytest.fail(f"nothing runs this, and documented/elsewhere.py has no reason: {words}")

    def _settings(self) -> list[str]:
        return self._source.settings(self._folder / "unused")

    def _hydra_mobile(self, words: list[str], text: str) -> None:
        to = ""
        if ">" in words:
            words, to = words[: words.index(">")], words[words.index(">") + 1]
        # A chat reads its questions where the reader types.
        self._patch.setattr(sys, "stdin", io.StringIO("What is in the image?\n"))
        code, out, err = self._verb(*shortened(words, self._settings()))
        # Four bits can change a base with random weights by more than the tolerance allows.
        checked = words[0] == "verify" and words[-1].endswith("-int4")
        assert code in ((0, 3) if checked else (0,)), f"{text}\n{out}\n{err}"
        if to:
            Path(to).write_text(out, "utf-8")

    def _torchrun(self, words: list[str]) -> None:
        """Run with two processes on gloo, however many there are to be."""
        module = words.index("hydra_mobile")
        there = ["--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d"]
        there += ["--rdzv-endpoint=localhost:0", "-m", "hydra_mobile"]
        train = shortened(words[module + 1 :], self._settings())
        python = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run"]
        self._shell([*python, *there, *train], self._folder)

    def _experiment(self, module: str, words: list[str]) -> None:
        """Read the words as the experiment does, and stop there."""
        read = argparse.ArgumentParser.parse_args

        def stop(parser: argparse.ArgumentParser, *arguments: object) -> None:
            read(parser)
            raise Parsed

        self._patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        self._patch.setattr(sys, "argv", [module, *words])
        with pytest.raises(Parsed):
            importlib.import_module(module).main()

    @staticmethod
    def _shell(words: list[str], folder: Path) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture
def reader(
    source: Source, tmp_path: Path, run_verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> Reader:
    LocalHub(tmp_path / "hub", user="my-name").install(monkeypatch)
    folder = tmp_path / "reader"
    folder.mkdir()
    return Reader(source, folder, run_verb, monkeypatch)


def marked(unit: str) -> object:
    return pytest.param(unit, marks=pytest.mark.slow) if unit in SLOW else unit


@pytest.mark.parametrize("unit", [marked(unit) for unit in UNITS if unit != "docs/tutorial.md"])
def test_the_commands_run_as_they_are_written(unit: str, reader: Reader) -> None:
    reader.prepare(unit)
    for command in COMMANDS:
        if command.unit == unit and not elsewhere(command):
            reader.run(command)


@pytest.mark.slow
def test_the_tutorial_ends_with_a_report(reader: Reader, tmp_path: Path) -> None:
    test_the_commands_run_as_they_are_written("docs/tutorial.md", reader)
    page = (tmp_path / "reader" / "report" / "report.html").read_text("utf-8")
    # The pictures of a test set of one's own are on the page.
    assert page.count('src="data:image/webp;base64,') >= 4
    for name in ("scores", "ship", "gallery", "flips", "phone", "ranks", "training", "trust"):
        assert f'<section id="{name}"' in page


@pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: entry.pattern)
def test_what_is_not_run_is_there_and_is_tested_elsewhere(entry: object) -> None:
    assert any(elsewhere(command) is entry for command in COMMANDS), "no command is of this class"
    assert not entry.tested or (ROOT / entry.tested).is_file()


def test_what_a_page_presupposes_is_on_the_page() -> None:
    for unit, names in PRESUPPOSED.items():
        shown = " ".join(command.text for command in COMMANDS if command.unit == unit)
        assert shown, f"{unit} has no commands"
        for name in names:
            named = name.removeprefix("cache/") in shown or name.startswith(NAMED_ELSEWHERE)
            assert named, f"{unit}: {name}"
    assert set(SLOW) <= set(UNITS)
