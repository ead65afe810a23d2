from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_fixtures import Exported
from PIL import Image
from safetensors.numpy import load_file

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices import emulator, native_build
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import CacheState, Runtime
from hydra_mobile.runtimes.generation import Generator

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from hydra_mobile.runtimes.executorch import ExecuTorchRuntime
from hydra_mobile.runtimes.native import EmulatorRuntime, NativeRuntime

IDS = [5, 80, 17, 200, 3, 44, 260, 91, 130, 7, 61, 18, 299, 150, 33, 72, 8, 211, 64, 12, 101]


@pytest.fixture
def native(binary: Path, bundle: Path) -> Runtime:
    return NativeRuntime.load(bundle, threads=1)


@pytest.fixture(scope="module")
def python(bundle: Path) -> Runtime:
    return ExecuTorchRuntime.load(bundle, threads=1)


def answers(runner: Runtime, bundle: Path) -> list[tuple[list[int], Any]]:
    """Two questions about each golden picture, and one about none."""
    generator = Generator(runner)
    found = []
    for index in range(2):
        picture = Image.open(bundle / f"golden/{index}.png")
        for question in ("What is in the image?", "Is there a red car in the image?"):
            found.append(generator.answer(question, lambda p=picture: p, str(index)))
    found.append(generator.answer("What is a car?"))
    return [(answer.ids, answer.first_logits) for answer in found]


def test_it_answers_as_the_python_runtime_does(
    native: Runtime, python: Runtime, bundle: Path
) -> None:
    expected = answers(python, bundle)
    for (ids, logits), (found_ids, found) in zip(expected, answers(native, bundle), strict=True):
        assert found_ids == ids
        np.testing.assert_allclose(found, logits, atol=1e-4)
    assert len({tuple(ids) for ids, _ in expected}) == 5


def test_it_computes_what_the_python_runtime_computes(native: Runtime, python: Runtime) -> None:
    pixels = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(native.encode_image(pixels), python.encode_image(pixels), atol=1e-5)
    np.testing.assert_array_equal(native.embed(IDS), python.embed(IDS))
    assert native.embed([]).shape == (1, 0, 64)
    # Longer than one call may be, a rewind, and other methods between: the cache keeps its own.
    for runner in (native, python):
        _, state = runner.decode(runner.embed(IDS[:18]), CacheState())
        runner.decode(runner.embed(IDS[:9]), state)
        runner.encode_image(pixels)
        runner.embed(list(range(100, 116)))
    expected = python.decode(python.embed(IDS[18:]), CacheState(18))
    found = native.decode(native.embed(IDS[18:]), CacheState(18))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    assert found[1] == expected[1]


def test_the_fast_attention_computes_what_the_python_runtime_computes(
    binary: Path, bundle: Path
) -> None:
    ours, python = NativeRuntime.load(bundle, threads=2), ExecuTorchRuntime.load(bundle, threads=1)
    for runner in (ours, python):
        runner.decode(runner.embed(IDS[:18]), CacheState())
        runner.decode(runner.embed(IDS[:9]), CacheState(18))
    expected = python.decode(python.embed(IDS[18:]), CacheState(18))[0]
    found = ours.decode(ours.embed(IDS[18:]), CacheState(18))[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for (ids, _), (found_ids, _) in zip(
        answers(python, bundle), answers(ours, bundle), strict=True
    ):
        assert found_ids == ids


def test_facts_of_the_process(native: Any) -> None:
    assert native.threads == 1
    assert native.precision == "fp32"
    assert native.load_seconds > 0
    assert native.peak_memory() > 1_000_000
    assert runtime_class("native") is NativeRuntime
    assert runtime_class("emulator") is EmulatorRuntime
    assert EmulatorRuntime.execution == "emulated arm64: parity yes, timings no"


def test_wrong_input_is_an_error_and_the_runner_goes_on(native: Runtime) -> None:
    with pytest.raises(HydraError, match=r"[Tt]oken id.*320"):
        native.embed([1, 320])
    with pytest.raises(HydraError, match=r"0 tokens.* 81 "):
        native.decode(np.zeros((1, 81, 64), np.float32), CacheState())
    with pytest.raises(HydraError, match=r"Embeddings.*shape"):
        native.decode(np.zeros((1, 2, 63), np.float32), CacheState())
    with pytest.raises(HydraError, match=r"Pixels.*shape"):
        native.encode_image(np.zeros((1, 3, 16, 16), np.float32))
    assert native.embed([1, 2]).shape == (1, 2, 64)


def test_a_killed_runner_is_told_as_such(native: Any) -> None:
    os.kill(native._process._process.pid, signal.SIGKILL)
    with pytest.raises(HydraError, match="killed"):
        native.embed([1])


def test_closing_ends_the_process(native: Any) -> None:
    native.close()
    assert native._process._process.returncode == 0


def test_bundles_that_it_cannot_run(binary: Path, copied: Callable[..., Path]) -> None:
    other = copied(lambda manifest: manifest.update(runtime="onnx"))
    with pytest.raises(ArtifactError, match=r"`onnx`.*`executorch`"):
        NativeRuntime.load(other)


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build_cache: None
) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(HydraError, match=r"cmake.*g\+\+-aarch64-linux-gnu"):
        native_build.native_runner(native_build.ARM64)
    monkeypatch.setattr(emulator, "SYSTEM_ROOT", tmp_path)
    with pytest.raises(HydraError, match="qemu-user-static"):
        emulator.emulated(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if missing := native_build.missing_packages(native_build.X86_64):
        pytest.skip(f"nothing can be built without {', '.join(missing)}")
    broken = tmp_path / "native"
    (broken / "src").mkdir(parents=True)
    (broken / "CMakeLists.txt").write_text('message(FATAL_ERROR "no such thing")')
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(native_build, "_sources", lambda: broken)
    with pytest.raises(HydraError, match=r"(?s)build.*no such thing"):
        native_build.native_runner(native_build.X86_64)
    assert list((tmp_path / "home" / "native").iterdir()) == []


@pytest.mark.slow
@pytest.mark.device
def test_emulated_arm64_answers_as_the_host_does(
    bundle: Path, exported: Exported, build_cache: None, python: Runtime, tmp_path: Path
) -> None:
    missing = native_build.missing_packages(native_build.ARM64) + emulator.missing_packages()
    if missing:
        pytest.skip(f"no arm64 program can be built and run without {', '.join(set(missing))}")
    runner = EmulatorRuntime.load(bundle, threads=1)
    assert runner._process.session["machine"] == "aarch64"
    expected = answers(python, bundle)
    for (ids, logits), (found_ids, found) in zip(expected, answers(runner, bundle), strict=True):
        assert found_ids == ids
        np.testing.assert_allclose(found, logits, atol=1e-4)
    vectors = load_file(bundle / "golden.safetensors")
    for index, case in enumerate(json.loads((bundle / "golden.json").read_text())["cases"]):
        pixels = vectors[f"{index}.pixels"]
        found = Generator(runner).answer(case["question"], lambda pixels=pixels: pixels, stop=False)
        assert found.ids == case["ids"]
        np.testing.assert_allclose(found.first_logits, vectors[f"{index}.logits"], atol=1e-4)
    # Quantized kernels of both machines round alike but for the order of sums.
    quantized = Path(shutil.copytree(exported("executorch", "int8"), tmp_path / "int8"))
    here, there = NativeRuntime.load(quantized), EmulatorRuntime.load(quantized)
    pixels = vectors["0.pixels"][None]
    images = [runner.encode_image(pixels) for runner in (here, there)]
    cosine = (images[0] * images[1]).sum() / np.prod([np.linalg.norm(i) for i in images])
    assert cosine > 0.9999
