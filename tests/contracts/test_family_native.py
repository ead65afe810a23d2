"""The native runner on bundles of every family: rows go through it as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import Exported
from PIL import Image
from tiny_families import SQUARE, TILED, every_family

import hydra_mobile as hm
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests
from hydra_mobile.runtimes.generation import Generator

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from hydra_mobile.runtimes.executorch import ExecuTorchRuntime
from hydra_mobile.runtimes.native import NativeRuntime

#: A second question goes back to the picture of the first.
QUESTIONS = ("Is there a red car in the image?", "What is in the image?")


@pytest.fixture
def bundle(trained_bundle: Exported, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's bundle: the runner writes into it what it has hashed."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(trained_bundle(family, "executorch"), tmp_path / "bundle"))

    return copy


@pytest.mark.parametrize("family", every_family([*SQUARE, *TILED]))
def test_it_answers_as_the_python_runtime_does(
    family: str, binary: Path, bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = bundle(family)
    hm.verify(folder, device="native").require()
    asks = [
        Ask(
            f"{index} {question}",
            question,
            lambda i=index: Image.open(folder / f"golden/{i}.png"),
            str(index),
            max_new_tokens=8,
            stop=False,
        )
        for index in range(2)
        for question in QUESTIONS
    ]
    asks.append(Ask("text", QUESTIONS[1], max_new_tokens=8, stop=False))
    # Once in the loop of Python, and once in that of the runner.
    python, native = (
        Generator(kind.load(folder, threads=1)) for kind in (ExecuTorchRuntime, NativeRuntime)
    )
    write_requests(tmp_path, asks, Bundle.open(folder).processor())
    answers = tmp_path / "answers.jsonl"
    command = [binary, "--bundle", folder, "--requests", tmp_path / REQUESTS, "--answers", answers]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=300)
    told = {line.get("id"): line for line in map(json.loads, answers.read_text().splitlines())}
    for ask in asks:
        wanted, found = (
            generator.answer(ask.question, ask.image, ask.image_key, max_new_tokens=8, stop=False)
            for generator in (python, native)
        )
        assert found.ids == wanted.ids, ask.key
        np.testing.assert_allclose(found.first_logits, wanted.first_logits, atol=1e-4)
        assert told[ask.key]["ids"] == wanted.ids, ask.key
