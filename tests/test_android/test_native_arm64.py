"""The native runner for Android arm64-v8a: the program that a phone gets, under qemu."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import lief
import numpy as np
import pytest
from safetensors.numpy import load_file

from android_demo.tools.desktop import arm64
from android_demo.tools.vector_bundle import write_bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices import launch, native_build
from hydra_mobile.devices.android import executorch_package, fbjni_stub, toolchain
from hydra_mobile.devices.errors import WrongAbi
from hydra_mobile.devices.facts import DeviceFacts
from hydra_mobile.devices.launch import abi_of
from hydra_mobile.runtimes.generation import Generator

PHONE = DeviceFacts("S", abis=("arm64-v8a",), android="15", api_level=35)


@pytest.fixture
def program(compiler_cache: Path) -> Path:
    """The runner, built with what is in the user's own cache."""
    if reason := toolchain.missing():
        pytest.skip(reason)
    package = f"{executorch_package.NPM_NAME}-{executorch_package.NPM_VERSION}.tgz"
    for file in (compiler_cache / "npm" / package, compiler_cache / "wheels" / toolchain.WHEEL):
        if not file.is_file():
            pytest.skip(f"{file.name} is not in the cache: run `hydra-mobile devices setup` once")
    return native_build.android_runner()


@pytest.mark.slow  # a minute to compile, and an emulator
def test_what_a_phone_gets(program: Path) -> None:
    files = launch.runner_files(PHONE)
    assert files.keys() == {"hydra-runner", executorch_package.LIBRARY, fbjni_stub.NAME}
    assert files["hydra-runner"] == program
    assert abi_of(program) == "arm64-v8a"
    binary = lief.ELF.parse(str(program))
    assert binary is not None
    assert binary.is_pie
    assert binary.interpreter == "/system/bin/linker64"
    assert set(map(str, binary.libraries)) == {executorch_package.LIBRARY, "libc.so"}
    kinds = {segment.type for segment in binary.segments}
    # Thread-local storage came with Android 10, larger pages with Android 15.
    assert lief.ELF.Segment.TYPE.TLS not in kinds
    loads = [s.alignment for s in binary.segments if s.type == lief.ELF.Segment.TYPE.LOAD]
    assert min(loads) >= 16384
    old = DeviceFacts("S", abis=("armeabi-v7a",), android="8", api_level=26)
    with pytest.raises(WrongAbi, match=r"armeabi-v7a.*arm64-v8a"):
        launch.runner_files(old)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fp32", "int4"])
def test_it_answers_a_default_bundle(
    preset: str, program: Path, tiny_base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    if reason := arm64.missing():
        pytest.skip(reason)
    bundle = write_bundle(tmp_path / "bundle", preset, "executorch")
    case = json.loads((bundle / "golden.json").read_text())["cases"][0]
    request = {"id": "golden", "image": str(bundle / case["image"]), "before": case["before"]}
    request |= {"after": case["after"], "logits": str(tmp_path / "logits.f32"), "stop": False}
    (tmp_path / "requests.jsonl").write_text(json.dumps(request) + "\n")
    command = [*arm64.command(program), "--bundle", str(bundle), "--threads", "2"]
    command += ["--requests", str(tmp_path / "requests.jsonl")]
    done = subprocess.run(
        [*command, "--answers", str(tmp_path / "answers.jsonl")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    session, line, end = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    assert session["session"]["machine"] == "aarch64"
    assert end == {"end": {"answered": 1, "skipped": 0}}
    logits = np.fromfile(tmp_path / "logits.f32", np.float32)
    vectors = load_file(bundle / "golden.safetensors")
    if preset == "fp32":
        np.testing.assert_allclose(logits, vectors["0.logits"], atol=1e-4)
        assert line["ids"] == case["ids"]
    else:
        # The same program on this machine: other 8-bit kernels, so other roundings.
        from hydra_mobile.runtimes.executorch import ExecuTorchRuntime

        generator = Generator(ExecuTorchRuntime.load(bundle, threads=1))
        here = generator.answer(case["question"], lambda: vectors["0.pixels"], stop=False)
        assert np.corrcoef(logits, here.first_logits)[0, 1] > 0.99


@pytest.mark.slow
def test_a_fault_is_told_and_not_a_crash(program: Path, tmp_path: Path) -> None:
    if reason := arm64.missing():
        pytest.skip(reason)
    # A C++ exception, on libraries and a start that never saw the compiler's own runtime.
    command = [*arm64.command(program), "--bundle", str(tmp_path), "--serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "manifest.json" in done.stderr


def test_what_does_not_compile_is_said(
    compiler_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := toolchain.missing():
        pytest.skip(reason)
    if not (compiler_cache / "wheels" / toolchain.WHEEL).is_file():
        pytest.skip(f"{toolchain.WHEEL} is not in the cache")
    source = tmp_path / "broken.cpp"
    source.write_text("int main() { return no_such_name; }\n")
    with pytest.raises(HydraError, match=r"arm64-v8a failed:[\s\S]*no_such_name"):
        toolchain.Toolchain("arm64-v8a", tmp_path).compile(source)
    with pytest.raises(HydraError, match=r"mips.*arm64-v8a"):
        toolchain.Toolchain("mips", tmp_path)
