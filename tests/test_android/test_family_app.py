"""The app's code in a JVM on bundles of every family: template, tokenizer, pixels, rows, loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_answers import app_answers
from bundle_fixtures import Exported
from tiny_families import every_pair, group

from android_demo.tools import onnxruntime_aar
from android_demo.tools.desktop import libraries
from hydra_mobile.devices.android import executorch_package, toolchain
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator

QUESTIONS = ("Is there a red car in the image?", "1234?\n 'S ß Z\u0301\u0323 東 👍🏽!")
RUNTIMES = ("onnx", "executorch")
#: How a picture becomes squares is no matter of the runtime: each is asked with one family.
TILED = [
    pytest.param(pair, marks=[pytest.mark.slow, group(pair[0])])
    for pair in (("smolvlm_tiles", "executorch"), ("internvl_tiles", "onnx"))
]


@pytest.fixture
def cache(compiler_cache: Path) -> Path:
    """The user's own cache with both runtimes for Android in it."""
    if reason := libraries.missing():
        pytest.skip(reason)
    for file in (
        f"npm/{onnxruntime_aar.NPM_NAME}-{onnxruntime_aar.NPM_VERSION}.tgz",
        f"npm/{executorch_package.NPM_NAME}-{executorch_package.NPM_VERSION}.tgz",
        f"wheels/{toolchain.WHEEL}",
    ):
        if not (compiler_cache / file).is_file():
            pytest.skip(f"{file} is not in the cache: run `hydra-mobile app setup` once")
    return compiler_cache


@pytest.mark.parametrize("asked", [*every_pair(RUNTIMES), *TILED], ids="-".join)
def test_the_app_answers_as_python_does(
    asked: tuple[str, str], cache: Path, checked_bundle: Exported, tmp_path: Path
) -> None:
    """Also of a second question about a picture, for which states go back to its end."""
    bundle, runtime = checked_bundle(*asked), asked[1]
    asks, lines = app_answers(bundle, QUESTIONS, 8, tmp_path)
    told = {line.get("id"): line for line in lines}
    generator = Generator(runtime_class(runtime).load(bundle, threads=1))
    for ask in asks:
        wanted = generator.answer(
            ask.question, ask.image, ask.image_key, max_new_tokens=8, stop=False
        )
        assert told[ask.key]["prefill_tokens"] == wanted.prefill_tokens, ask.key
        assert told[ask.key]["ids"] == wanted.ids, ask.key
        assert told[ask.key]["text"] == wanted.text
