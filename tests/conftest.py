"""Fixtures that every test may use: a cache of its own, base `tiny`, a little data set."""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import typer.main
import typer.testing
from PIL import Image, ImageDraw

pytest_plugins = ["browser_fixture", "bundle_fixtures", "worker_fixtures"]

# Before anything asks for the cache folder: tests never touch the user's own.
_HOME = tempfile.TemporaryDirectory(prefix="hydra-mobile-tests-")
# xdist's workers inherit the environment that this file has already changed in their parent.
REAL_HOME = os.environ.setdefault(
    "_HYDRA_MOBILE_USERS_HOME", os.environ.get("HYDRA_MOBILE_HOME", "")
)
os.environ["HYDRA_MOBILE_HOME"] = _HOME.name
os.environ["HF_HUB_OFFLINE"] = "1"
# Some runners of tests set it; what commands print to a pipe must not depend on it.
os.environ.pop("COLUMNS", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers of one machine share its cores: torch's threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what is imported here: millions of objects, none of them garbage.

    A full collection over them takes seconds, and training makes one due every few tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Spare it also what a file of tests has imported or left in caches."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def real_home() -> str | None:
    """The user's own HYDRA_MOBILE_HOME, for slow tests on real weights."""
    return REAL_HOME or None


@pytest.fixture(scope="session", autouse=True)
def pools_of_their_own() -> Iterator[None]:
    """Keep sessions of onnxruntime apart.

    A command takes its process for its own and makes one pool for all sessions; here it is the
    tests' process, and the sessions of later tests would have to know of the pool.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra_mobile.runtimes.onnx.share_pool", lambda threads: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_tree_of_verbs() -> Iterator[None]:
    """Build a command line's parser once: that takes longer than most of what is asked of it."""
    built = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", built)
        patch.setattr(typer.testing, "_get_command", built)
        yield


@pytest.fixture
def run_verb(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process; return exit code, output and errors."""
    from hydra_mobile.cli.main import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hydra-mobile", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(bool(error.code))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def tiny_base() -> Path:
    from hydra_mobile.models.registry import fetch

    return fetch("tiny", lambda line: None)


@pytest.fixture(scope="session")
def shapes_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn pictures; captions and questions about them as LLaVA json."""
    folder = tmp_path_factory.mktemp("shapes")
    colors = {"red": "#d02020", "green": "#20a040", "blue": "#2040d0"}
    captions, questions = [], []
    for index in range(12):
        color = list(colors)[index % 3]
        shape = ("circle", "square")[index % 2]
        picture = Image.new("RGB", (40, 30), "white")
        draw = ImageDraw.Draw(picture)
        box = (8 + index % 4, 5, 28, 25)
        (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colors[color])
        picture.save(folder / f"{index}.png")
        name = f"{color} {shape}"
        captions.append(_record(index, "caption", "Describe the image briefly.", name))
        questions.append(_record(index, "colour", "Which color is it?", color))
        questions.append(_record(index, "circle", "Is there a circle?", _yes(shape == "circle")))
        questions.append(_record(index, "name", "What is in the image?", name))
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "questions.json").write_text(json.dumps(questions))
    return folder


def _record(index: int, kind: str, question: str, answer: str) -> dict[str, object]:
    return {
        "id": f"{index}-{kind}",
        "image": f"{index}.png",
        "conversations": [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": answer},
        ],
    }


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


@pytest.fixture(scope="session")
def run_settings(shapes_data: Path) -> Callable[[Path], list[str]]:
    """Overrides for a training run of a few seconds, by its run folder."""

    def settings(output: Path) -> list[str]:
        return [
            "base=tiny",
            f"output={output}",
            f"data.stage1={shapes_data / 'captions.json'}",
            f"data.stage2={shapes_data / 'questions.json'}",
            "stage1.align_steps=3",
            "stage1.steps=3",
            "stage1.batch_size=4",
            "stage2.steps=6",
            "stage2.batch_size=4",
            "ranks.r_ref=8",
            "ranks.rank_step=2",
            "ranks.r_min=2",
            "ranks.start=coarse_fine",  # ranks that differ from the first step
            "ranks.alpha_ref=16",
            "ranks.calibration_batches=2",
            "runtime.precision=fp32",
            "runtime.threads=1",  # the cores are shared by the processes of the session
            "runtime.memory_check=false",  # half the time of so short a run
            "runtime.checkpoint_every=2",
            "runtime.log_every=1",
        ]

    return settings


@pytest.fixture
def tiny_settings(run_settings: Callable[[Path], list[str]], tmp_path: Path) -> list[str]:
    return run_settings(tmp_path / "run")
