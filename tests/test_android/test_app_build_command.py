"""`hydra-mobile app build --bundle MODEL`: one command from a run to an APK with its model."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import hydra_mobile.api.export
from android_demo.tools import apk_build, apk_check
from hydra_mobile.cli.main import app


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """The models that were to be built in; compiling an app takes a minute."""
    models: list[Path | None] = []

    def build(say: Any, contents: apk_build.Contents, out: Path | None) -> Path:
        models.append(contents.bundle)
        apk = tmp_path / "app.apk"
        zipfile.ZipFile(apk, "w").close()
        return apk

    monkeypatch.setattr(apk_build, "build", build)
    monkeypatch.setattr(apk_check, "check", lambda apk: [])
    return models


def build_with(model: Path, *more: str) -> None:
    done = CliRunner().invoke(app, ["app", "build", "--bundle", str(model), *more])
    assert done.exit_code == 0, done.output


def test_a_bundle_goes_in_as_it_is(built: list[Path | None], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    build_with(tmp_path / "bundle")
    assert built == [tmp_path / "bundle"]


@pytest.mark.parametrize("runtime", ["executorch", "onnx"])
def test_a_run_is_exported_once(
    runtime: str, built: list[Path | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    exported: list[tuple[Path, str, str]] = []

    def export(model: Path, target: str, *, runtime: str, preset: str, out: Path, log: Any) -> Any:
        exported.append((model, runtime, preset))
        out.mkdir(parents=True)
        (out / "manifest.json").write_text("{}")
        return SimpleNamespace(folder=out)

    monkeypatch.setattr(hydra_mobile.api.export, "export", export)
    for _ in range(2):
        build_with(run, "--runtimes", runtime)
    assert exported == [(run, runtime, "int4")]
    assert built == [run / "bundles" / f"android-{runtime}-int4"] * 2


def test_a_bundle_that_the_app_cannot_run_is_refused_before_compiling(
    fp32_bundle: Path, tmp_path: Path, run_verb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: object) -> None:
        raise AssertionError("it was compiled")

    monkeypatch.setattr(apk_build.tools, "require", compiled)
    damaged = tmp_path / "damaged"
    shutil.copytree(fp32_bundle, damaged)
    os.truncate(damaged / "tokenizer.json", 10)
    for wrong in (("--runtimes", ""), ("--runtimes", ","), ("--runtimes", "torch"), ("--abi", "")):
        code, _, err = run_verb("app", "build", *wrong)
        assert code == 2
        assert wrong[0] in err
    for model, word in (
        (fp32_bundle, "executorch"),
        (damaged, "tokenizer.json"),
        (tmp_path, "run"),
    ):
        code, _, err = run_verb("app", "build", "--bundle", model, "--runtimes", "onnx")
        assert code == 2
        assert word in err
        assert "Traceback" not in err
