"""The app's loop and ExecuTorch on a desktop's JVM, by the bridge and Android's library."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from app_answers import app_answers

from android_demo.tools import executorch_bridge, jvm
from android_demo.tools.desktop import arm64, benchmark, libraries
from android_demo.tools.vector_bundle import QUESTION, made_picture
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices.android import executorch_package, toolchain
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests
from hydra_mobile.runtimes.generation import Generator

QUESTIONS = (QUESTION, "What is in the image?\nAnswer with one word.", "Grüße aus 東京 👍🏽!")


@pytest.fixture
def cache(compiler_cache: Path) -> Path:
    """The user's own cache with ExecuTorch for Android and the compiler in it."""
    if reason := libraries.missing():
        pytest.skip(reason)
    package = f"{executorch_package.NPM_NAME}-{executorch_package.NPM_VERSION}.tgz"
    for file in (compiler_cache / "npm" / package, compiler_cache / "wheels" / toolchain.WHEEL):
        if not file.is_file():
            pytest.skip(f"{file.name} is not in the cache: run `hydra-mobile app setup` once")
    return compiler_cache


@pytest.fixture(scope="module")
def exported(app_bundle: Callable[[str, str], Path]) -> Callable[[str], Path]:
    """ExecuTorch's bundles by preset."""
    return lambda preset: app_bundle("executorch", preset)


@pytest.mark.parametrize("preset", ["fp32", pytest.param("int4", marks=pytest.mark.slow)])
def test_the_app_answers_as_python_does(
    preset: str, cache: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    from hydra_mobile.runtimes.executorch import ExecuTorchRuntime

    bundle = exported(preset)
    assert Bundle.open(bundle).manifest["details"]["attention"] == "custom"
    asks, lines = app_answers(bundle, QUESTIONS, 24, tmp_path)
    assert lines[0]["session"]["library"] == executorch_package.DESCRIPTION
    assert lines[0]["session"]["threads"] == 1
    told = {line["id"]: line for line in lines if "id" in line}
    generator = Generator(ExecuTorchRuntime.load(bundle, threads=1))
    texts = {line["text"] for line in told.values()}
    assert len(texts) > 4
    equal_firsts = 0
    for ask in asks:
        expected = generator.answer(
            ask.question, ask.image, ask.image_key, max_new_tokens=24, stop=False
        )
        found = told[ask.key]
        equal_firsts += found["ids"][0] == expected.ids[0]
        if preset == "fp32":
            assert found["ids"] == expected.ids, ask.key
            assert found["text"] == expected.text
        lead = np.sort(expected.first_logits)[-2:]
        # Activations are rounded to 8 bits, and a random model makes much of each rounding.
        most = 1e-4 if preset == "fp32" else 0.3
        assert found["margin"] == pytest.approx(float(lead[1] - lead[0]), abs=most)
    assert equal_firsts >= len(asks) - (preset != "fp32")


@pytest.mark.slow  # an emulator
@pytest.mark.parametrize("preset", ["fp32", "int4"])
def test_the_bridge_for_arm64_in_an_emulated_jvm(
    preset: str, cache: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    if reason := arm64.missing_java():
        pytest.skip(reason)
    bundle = exported(preset)
    case = json.loads((bundle / "golden.json").read_text())["cases"][0]
    asks = [Ask("golden", case["question"], lambda: made_picture(0), "0", 16, False)]
    write_requests(tmp_path, asks, Bundle.open(bundle).processor())
    answers = tmp_path / "answers.jsonl"
    kind = libraries.EMULATED
    benchmark.run_benchmark(bundle, tmp_path / REQUESTS, answers, kind=kind, threads=2)
    session, line, end = map(json.loads, answers.read_text().splitlines())
    assert session["session"]["machine"] == "aarch64"
    assert session["session"]["library"] == executorch_package.DESCRIPTION
    assert end == {"end": {"answered": 1, "skipped": 0}}
    if preset == "fp32":
        assert line["ids"] == case["ids"][:16]
    (tmp_path / REQUESTS).write_text('{"id": "a", "before": [1, 999999]}\n')
    with pytest.raises(ArtifactError, match=r"requests\.jsonl:1: token id 999999"):
        benchmark.run_benchmark(bundle, tmp_path / REQUESTS, tmp_path / "b.jsonl", kind=kind)


@pytest.mark.slow  # the compiler takes a quarter of a minute
def test_runtime_in_a_jvm(cache: Path, exported: Callable[[str], Path]) -> None:
    if reason := jvm.missing():
        pytest.skip(reason)
    native = libraries.folder("android")
    properties = {"hydra.bundle": str(exported("fp32")), **libraries.properties(native)}
    environment = libraries.environment(native)
    jvm.run_jvm_tests("runtime-et", [benchmark.modules().core], properties, environment)


def test_what_ends_the_app_is_an_error_in_words(
    cache: Path, exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / REQUESTS).write_text('{"id": "a", "before": [1, 999999]}\n')
    with pytest.raises(ArtifactError, match=r"requests\.jsonl:1.*999999"):
        benchmark.run_benchmark(exported("fp32"), tmp_path / REQUESTS, tmp_path / "a.jsonl")
    # An APK that was put together without the bridge.
    (tmp_path / REQUESTS).write_text('{"id": "a", "before": [1]}\n')
    monkeypatch.setattr(libraries, "properties", lambda native: {"java.library.path": "/nowhere"})
    with pytest.raises(HydraError, match="hydra_et"):
        benchmark.run_benchmark(exported("fp32"), tmp_path / REQUESTS, tmp_path / "a.jsonl")


def test_what_the_app_calls_its_library() -> None:
    source = Path(executorch_bridge.SOURCE).parents[1] / "kotlin/org/hydramobile/runtime/et"
    text = (source / "EtRuntime.kt").read_text()
    version = executorch_package.NPM_VERSION
    assert f'VERSION = "{version}"' in text
    described = executorch_package.DESCRIPTION.replace(version, "$VERSION")
    assert f'LIBRARY = "{described}"' in text
    # The virtual machine finds native functions by name; the bridge has one for each.
    declared = re.findall(r"external fun (\w+)\(", (source / "Native.kt").read_text())
    defined = re.findall(
        r"JNICALL Java_org_hydramobile_runtime_et_Native_(\w+)\(",
        executorch_bridge.SOURCE.read_text(),
    )
    assert sorted(declared) == sorted(defined)
