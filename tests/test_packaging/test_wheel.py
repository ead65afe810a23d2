"""A wheel, built and installed into an environment of its own, used outside of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from hydra_mobile.configs import config_names

ROOT = Path(__file__).parents[2]


def completed(command: list[object], folder: Path, **environment: str) -> str:
    """Run a command in `folder` without the checkout on the path; return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    completed(build, folder)
    (file,) = folder.glob("hydra_mobile-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of the programs of an environment with the wheel and our dependencies."""
    home = tmp_path_factory.mktemp("environment")
    completed([sys.executable, "-m", "venv", home / "env"], home)
    scripts = home / "env" / "bin"
    completed([scripts / "pip", "install", "--quiet", "--no-deps", wheel], home)
    # The dependencies of this environment, behind the wheel; a plain line of a .pth file does not
    # bring in the editable install of the checkout.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = home / "env" / "lib" / version / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return scripts


def run(installed: Path, folder: Path, *arguments: object) -> str:
    return completed([installed / "hydra-mobile", *arguments], folder)


@pytest.mark.slow
def test_the_wheel_has_what_verbs_read_and_nothing_of_the_checkout(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"hydra_mobile/configs/{name}.yaml" for name in config_names()}
    wanted |= {"hydra_mobile/py.typed", "hydra_export/py.typed", "hydra_mobile/native/README.md"}
    wanted |= {"hydra_mobile/native/CMakeLists.txt", "hydra_mobile/reporting/page/page.css"}
    assert wanted <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"hydra_mobile", "hydra_export", f"hydra_mobile-{version(wheel)}.dist-info"}
    assert not any("/tests/" in name or "__pycache__" in name for name in names)


def version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


@pytest.mark.slow
def test_its_metadata_are_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("dist-info/METADATA"))
        text = archive.read(name).decode()
    for key in ("Summary", "License-Expression", "Keywords", "Classifier", "Requires-Python"):
        assert f"\n{key}:" in text, key
    requirements = [line for line in text.splitlines() if line.startswith("Requires-Dist")]
    core = [line for line in requirements if "extra ==" not in line]
    # Exact pins are for the extras that need them.
    assert not [line for line in core if "==" in line]
    assert any("torch" in line and "executorch" in line for line in requirements)


@pytest.mark.slow
def test_it_is_used_outside_of_the_checkout(installed, shapes_data, tiny_base, tmp_path):
    where = "import hydra_mobile, hydra_export; print(hydra_mobile.__file__, hydra_export.__file__)"
    places = completed([installed / "python", "-c", where], tmp_path)
    assert str(ROOT) not in places
    listed = run(installed, tmp_path, "config", "list")
    assert "mobilevlm-1.7b" in listed
    data = [
        "base=tiny",
        f"data.stage1={shapes_data / 'captions.json'}",
        f"data.stage2={shapes_data / 'questions.json'}",
        "stage1.align_steps=1",
        "stage1.steps=1",
        "stage2.steps=2",
        "stage2.batch_size=2",
        "runtime.precision=fp32",
    ]
    shown = run(installed, tmp_path, "train", "--config", "emojiqa-smol", "--dry-run", *data)
    assert "Nothing was written" in shown
    small = [
        "ranks.r_ref=8",
        "ranks.rank_step=2",
        "ranks.r_min=2",
        "ranks.alpha_ref=16",
        "ranks.policy=uniform",
    ]
    run(installed, tmp_path, "train", "--config", "emojiqa-smol", *data, *small, "output=run")
    bundle = tmp_path / "bundle"
    run(
        installed, tmp_path, "export", "run", "--target", "android", "--runtime", "onnx",
        "--preset", "fp32", "--out", bundle,
    )  # fmt: skip
    # It ends with 3 where the bundle does not compute what was trained.
    checked = run(installed, tmp_path, "verify", bundle, "--against", "run")
    assert "adapter = merged" in checked
    assert "merged = ONNX Runtime fp32" in checked
    code = (
        "import hydra_mobile as hm\n"
        f"model = hm.load({str(bundle)!r})\n"
        f"print(model.ask({str(shapes_data / '0.png')!r}, 'What?', max_new_tokens=3).ended)\n"
    )
    # Libraries may warn behind it.
    said = completed([installed / "python", "-c", code], tmp_path).split()
    assert {"length", "stop"} & set(said)
