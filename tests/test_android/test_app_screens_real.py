"""From the tap to the text: the screens with the app's own runtimes, on bundles of `tiny`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from android_demo.tools.desktop import libraries
from android_demo.tools.framework import jars, suite
from android_demo.tools.vector_bundle import QUESTION, made_picture, write_bundle
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.runtimes.generation import Generator

_TOKENS = 64
_ASKED = 50
_KILLED_AT = 20
_BATCH = "RealModelTest#aBatchIsAnsweredByTheIntentThatAHostSends"


@pytest.fixture
def framework(compiler_cache: Path) -> None:
    """What the tests need; skipped where something cannot be had."""
    if reason := suite.missing() or libraries.missing():
        pytest.skip(reason)
    try:
        jars.jars()
        libraries.folder("android")
    except HydraError as error:
        pytest.skip(str(error))


@pytest.fixture
def generators(tiny_base: Path, tmp_path: Path) -> dict[str, Generator]:
    """Python's answers, by runtime, from bundles in the folder that the app is given."""
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    from hydra_mobile.runtimes.executorch import ExecuTorchRuntime
    from hydra_mobile.runtimes.onnx import OnnxRuntime

    load: dict[str, Callable[[Path], object]] = {
        "onnx": lambda path: OnnxRuntime.load(path, threads=1),
        "executorch": lambda path: ExecuTorchRuntime.load(path, threads=1),
    }
    made = {}
    for runtime, opened in load.items():
        bundle = write_bundle(tmp_path / "real" / runtime, "fp32", runtime)
        made[runtime] = Generator(opened(bundle))  # type: ignore[arg-type]
    return made


@pytest.mark.slow
def test_a_shared_and_a_picked_picture_are_answered_as_python_answers(
    framework: None, generators: dict[str, Generator], tmp_path: Path
) -> None:
    folder = tmp_path / "real"
    picture = made_picture(3)
    picture.save(folder / "picture.png")
    expected = {
        runtime: generator.answer(QUESTION, lambda: picture, "3", max_new_tokens=_TOKENS).text
        for runtime, generator in generators.items()
    }
    assert all(expected.values())
    (folder / "expected.json").write_text(json.dumps({"question": QUESTION, **expected}))
    asks = [
        Ask(f"{n}", f"{QUESTION} {n}", lambda s=n % 4: made_picture(s), f"{n % 4}", 16)
        for n in range(_ASKED)
    ]
    processor = Bundle.open(folder / "onnx").processor()
    (folder / "requests").mkdir()
    write_requests(folder / "requests", asks, processor)
    native = libraries.folder("android")
    properties = {"hydra.real": str(folder), **libraries.properties(native)}
    # The process ends in the middle of the batch, once with each runtime; the next one goes on.
    for runtime in generators:
        with pytest.raises(HydraError, match="exit code 137"):
            suite.run(
                [_BATCH],
                properties={**properties, "hydra.kill": f"{runtime}:{_KILLED_AT}"},
                environment=libraries.environment(native),
            )
        left = (folder / f"answers-{runtime}.jsonl").read_text()
        assert _KILLED_AT <= left.count("\n") < _ASKED
        assert '"end"' not in left
    suite.run(["RealModelTest"], properties=properties, environment=libraries.environment(native))
    for runtime, generator in generators.items():
        lines = (folder / f"answers-{runtime}.jsonl").read_text().splitlines()
        answers = [line for line in map(json.loads, lines) if "id" in line]
        told = {line["id"]: line["text"] for line in answers}
        assert len(answers) == len(told) == _ASKED
        for ask in asks:
            answer = generator.answer(ask.question, ask.image, ask.image_key, max_new_tokens=16)
            assert told[ask.key] == answer.text, (runtime, ask.key)
