"""The screens with the app's own runtimes: batches whose process ends, the quickstart's bundles.

The tap and the text on bundles of `tiny` are in the everyday run, `test_app_screens.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tapped import generators_of, write_tapped

from android_demo.tools.desktop import libraries
from android_demo.tools.framework import suite
from android_demo.tools.vector_bundle import QUESTION, made_picture
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.batch_format import Ask, write_requests

_ASKED = 100
_KILLED_AT = 40
_BATCH = "RealModelTest#aBatchIsAnsweredByTheIntentThatAHostSends"
_RUNTIMES = ("onnx", "executorch")
#: Where `make quickstart` left its folder, if not in the checkout.
_QUICKSTART = "HYDRA_MOBILE_QUICKSTART"


@pytest.mark.slow
def test_a_batch_goes_on_where_its_process_ended(
    native_libraries: Path, app_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "real"
    bundles = {runtime: app_bundle(runtime) for runtime in _RUNTIMES}
    generators = generators_of(bundles)
    write_tapped(folder, bundles, generators, made_picture(3), QUESTION)
    asks = [
        Ask(f"{n}", f"{QUESTION} {n}", lambda s=n % 4: made_picture(s), f"{n % 4}", 16)
        for n in range(_ASKED)
    ]
    (folder / "requests").mkdir()
    write_requests(folder / "requests", asks, Bundle.open(folder / "onnx").processor())
    properties = {"hydra.real": str(folder), **libraries.properties(native_libraries)}
    environment = libraries.environment(native_libraries)
    # The process ends in the middle of the batch, once with each runtime; the next one goes on.
    for runtime in generators:
        with pytest.raises(HydraError, match="exit code 137"):
            suite.run(
                [_BATCH],
                properties={**properties, "hydra.kill": f"{runtime}:{_KILLED_AT}"},
                environment=environment,
            )
        left = (folder / f"answers-{runtime}.jsonl").read_text()
        assert _KILLED_AT <= left.count("\n") < _ASKED
        assert '"end"' not in left
    suite.run([_BATCH], properties=properties, environment=environment)
    for runtime, generator in generators.items():
        lines = (folder / f"answers-{runtime}.jsonl").read_text().splitlines()
        answers = [line for line in map(json.loads, lines) if "id" in line]
        told = {line["id"]: line["text"] for line in answers}
        assert len(answers) == len(told) == _ASKED
        for ask in asks:
            answer = generator.answer(ask.question, ask.image, ask.image_key, max_new_tokens=16)
            assert told[ask.key] == answer.text, (runtime, ask.key)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fp32", "int4"])
def test_the_quickstart_s_bundles_answer_on_the_screen_as_in_python(
    preset: str, native_libraries: Path, tmp_path: Path
) -> None:
    quickstart = Path(os.environ.get(_QUICKSTART, "quickstart")).absolute()
    bundles = {runtime: quickstart / f"android-{runtime}-{preset}" for runtime in _RUNTIMES}
    if missing := [str(bundle) for bundle in bundles.values() if not bundle.is_dir()]:
        pytest.skip(f"{missing[0]} is not there: run `make quickstart`, or set {_QUICKSTART}")
    sample = EmojiQA(quickstart / "emojiqa").samples(limit=1)[0]
    assert sample.image is not None
    picture, folder = sample.image.open(), tmp_path / "real"
    expected = write_tapped(folder, bundles, generators_of(bundles), picture, sample.question)
    outcome = suite.run(
        ["RealModelTest"],
        properties={"hydra.real": str(folder), **libraries.properties(native_libraries)},
        environment=libraries.environment(native_libraries),
    )
    assert outcome.tests == {"RealModelTest": 5}, expected
