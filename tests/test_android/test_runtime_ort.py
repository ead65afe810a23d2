"""The app's loop and its ONNX Runtime on a desktop's JVM: what it answers, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from android_demo.tools import jvm, kotlin, onnxruntime_aar
from android_demo.tools.desktop import benchmark, libraries
from android_demo.tools.vector_bundle import QUESTION, made_picture
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests
from hydra_mobile.runtimes.generation import Generation, Generator

QUESTIONS = (
    QUESTION,
    "What is in the image?\nAnswer the question using a single word or phrase.",
    "Grüße aus 東京 👍🏽!",
)
#: A bundle of the runtime `onnx` and the folder of EmojiQA to ask it, for the test on real ones.
BUNDLE, DATA = os.environ.get("HYDRA_MOBILE_APP_BUNDLE"), os.environ.get("HYDRA_MOBILE_APP_DATA")


@pytest.fixture
def cache(compiler_cache: Path) -> Path:
    """The user's own cache with the AAR in it too."""
    if reason := libraries.missing():
        pytest.skip(reason)
    if not (compiler_cache / "npm" / f"{_aar_package()}.tgz").is_file():
        pytest.skip(
            f"{_aar_package()}.tgz is not in the cache: run experiments/devices/app_loop.py once"
        )
    return compiler_cache


def _aar_package() -> str:
    return f"{onnxruntime_aar.NPM_NAME}-{onnxruntime_aar.NPM_VERSION}"


@pytest.fixture(scope="module")
def exported(app_bundle: Callable[[str, str], Path]) -> Callable[[str], Path]:
    """ONNX Runtime's bundles by preset."""
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    return lambda preset: app_bundle("onnx", preset)


def _asks() -> list[Ask]:
    pictures = [
        Ask(f"{seed} {question}", question, lambda s=seed: made_picture(s), str(seed), 24, False)
        for seed in range(3)
        for question in QUESTIONS
    ]
    return [*pictures, Ask("text", QUESTIONS[0], max_new_tokens=24, stop=False)]


def _told(answers: Path) -> dict[str, dict]:
    lines = map(json.loads, answers.read_text().splitlines())
    return {line["id"]: line for line in lines if "id" in line}


def _in_python(bundle: Path) -> dict[str, Generation]:
    from hydra_mobile.runtimes.onnx import OnnxRuntime

    generator = Generator(OnnxRuntime.load(bundle, threads=1))
    return {
        ask.key: generator.answer(
            ask.question,
            ask.image,
            ask.image_key,
            max_new_tokens=ask.max_new_tokens,
            stop=ask.stop,
        )
        for ask in _asks()
    }


@pytest.mark.slow  # the compiler takes most of a minute
@pytest.mark.parametrize(("preset", "kind"), [("fp32", "android"), ("int4", "host")])
def test_the_app_answers_as_python_does(
    preset: str, kind: str, cache: Path, exported: Callable[[str], Path], tmp_path: Path
):
    from hydra_mobile.bundle.bundle import Bundle

    bundle = exported(preset)
    write_requests(tmp_path, _asks(), Bundle.open(bundle).processor())
    answers = tmp_path / "answers.jsonl"
    benchmark.run_benchmark(bundle, tmp_path / REQUESTS, answers, kind=kind, threads=1)
    told, expected = _told(answers), _in_python(bundle)
    assert told.keys() == expected.keys()
    assert len({tuple(generation.ids) for generation in expected.values()}) > 5
    for key, generation in expected.items():
        assert told[key]["ids"] == generation.ids, key
        assert told[key]["text"] == generation.text, key
        assert told[key]["prefill_tokens"] == generation.prefill_tokens
        assert (told[key]["encode_seconds"] is None) == (generation.encode_seconds is None)
        lead = np.sort(generation.first_logits)[-2:]
        assert told[key]["margin"] == pytest.approx(float(lead[1] - lead[0]), abs=1e-4)
    # Cut inside of the third answer, the same call answers what is missing, and nothing twice.
    lines = answers.read_text().splitlines()
    answers.write_text("\n".join(lines[:3]) + "\n" + lines[3][:30])
    benchmark.run_benchmark(bundle, tmp_path / REQUESTS, answers, kind=kind, threads=1)
    assert [json.loads(line).get("id") for line in answers.read_text().splitlines()].count(
        "text"
    ) == 1
    again = _told(answers)
    assert {key: line["ids"] for key, line in again.items()} == {
        key: line["ids"] for key, line in told.items()
    }
    end = json.loads(answers.read_text().splitlines()[-1])
    assert end == {"end": {"answered": 8, "skipped": 2}}


@pytest.mark.slow
def test_runtime_in_a_jvm(cache: Path, exported: Callable[[str], Path], tmp_path: Path):
    if reason := jvm.missing():
        pytest.skip(reason)
    app, native = benchmark.modules(), libraries.folder("android")
    properties = {"hydra.bundle": str(exported("fp32")), **libraries.properties(native)}
    environment = libraries.environment(native)
    jvm.run_jvm_tests("runtime-ort", [app.core, app.ort_api], properties, environment)


@pytest.mark.slow
def test_a_bundle_that_the_app_refuses(
    cache: Path, exported: Callable[[str], Path], tmp_path: Path
):
    (tmp_path / REQUESTS).write_text("")
    with pytest.raises(ArtifactError, match=r"code 2.*bundle"):
        benchmark.run_benchmark(tmp_path / "nowhere", tmp_path / REQUESTS, tmp_path / "a.jsonl")
    (tmp_path / REQUESTS).write_text('{"id": "a", "before": [1, 999999]}\n')
    with pytest.raises(ArtifactError, match=r"requests\.jsonl:1.*999999"):
        benchmark.run_benchmark(exported("fp32"), tmp_path / REQUESTS, tmp_path / "a.jsonl")
    (tmp_path / REQUESTS).write_text('{"id": "a", "before": [1]}\n')
    with pytest.raises(HydraError, match=r"code 4.*written"):
        benchmark.run_benchmark(exported("fp32"), tmp_path / REQUESTS, tmp_path / "no/a.jsonl")


def test_a_crash_is_told_by_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho '# A fatal error' >&2\nkill -SEGV $$\n")
    java.chmod(0o755)
    monkeypatch.setattr(kotlin, "java", lambda: str(java))
    monkeypatch.setattr(libraries, "folder", lambda kind: tmp_path)
    with pytest.raises(HydraError, match=rf"{signal.SIGSEGV.name}[\s\S]*fatal"):
        benchmark.run_main("Main", [], [], "android")


def test_telemetry_is_off_before_anything_else():
    process = (
        benchmark.APP / "runtime-ort/src/main/kotlin/org/hydramobile/runtime/ort/OrtProcess.kt"
    )
    text = process.read_text()
    made = text.index("make(threads).also {")
    assert text[made:].splitlines()[1].strip() == "it.setTelemetry(false)"
    others = (benchmark.APP / "runtime-ort/src/main").rglob("*.kt")
    assert sum("OrtEnvironment.getEnvironment(" in file.read_text() for file in others) == 1


@pytest.mark.slow
def test_a_real_bundle_answers_a_hundred_questions(cache: Path, tmp_path: Path):
    if not (BUNDLE and DATA):
        pytest.skip(
            "set HYDRA_MOBILE_APP_BUNDLE to an ONNX bundle, HYDRA_MOBILE_APP_DATA to EmojiQA"
        )
    script = Path(__file__).parents[2] / "experiments" / "app_loop.py"
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        str(script),
        BUNDLE,
        "--data",
        DATA,
        "--work",
        str(tmp_path / "work"),
    ]
    subprocess.run([*command, "--out", str(out)], check=True)
    app = json.loads(out.read_text())["bundles"][0]["app"]
    assert app["host"]["questions"] >= 100
    assert app["host"]["equal_texts"] == app["host"]["questions"]
    assert app["host"]["equal_ids"] == app["host"]["questions"]
