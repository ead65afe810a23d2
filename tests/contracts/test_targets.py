"""What every target promises for every preset, over the registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bundle_fixtures import Exported
from PIL import Image
from target_bundles import LIMITS, PAIRS, export, platform_of, require

from hydra_export.export import export_bundle
from hydra_export.targets import TARGETS, target_for, target_of
from hydra_mobile.bundle.bundle import TOKENIZER, Bundle
from hydra_mobile.bundle.interface import METHODS
from hydra_mobile.bundle.kernel_coverage import MINIMUM
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.errors import HydraError, MissingPackageError
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.runtimes import RUNTIMES, runtime_class

Inputs = list[tuple[Image.Image, str]]
RUNTIME_NAMES = sorted({runtime for _, runtime in PAIRS})
#: The exact preset every day, the quantized ones in the slow suite.
EXPORTS = [
    pytest.param(runtime, preset, marks=() if preset == "fp32" else pytest.mark.slow)
    for runtime in RUNTIME_NAMES
    for preset in target_for(platform_of(runtime), runtime).presets
]


def test_a_target_is_looked_at_without_its_packages() -> None:
    code = (
        "import sys\nfrom hydra_export.targets import TARGETS, target_for\n"
        "for name, platform in TARGETS.items():\n"
        "    for runtime in platform.runtimes:\n"
        "        target = target_for(name, runtime)\n"
        "        assert target.title and target.presets and target.extra\n"
        "        assert target.default_preset in target.presets\n"
        "heavy = {'torch', 'executorch', 'onnx', 'coremltools'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", TARGETS)
def test_a_platform_has_a_default_and_what_runs_it(name: str) -> None:
    platform = TARGETS[name]
    assert target_for(name).runtime == platform.default_runtime
    for runtime in platform.runtimes:
        target = target_for(name, runtime)
        assert target.runtime == runtime
        assert runtime in RUNTIMES
        assert target.title == runtime_class(runtime).title
        assert type(target_of({"runtime": runtime})) is type(target)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_what_it_cannot_do_is_refused_before_any_work(name: str, runtime: str) -> None:
    target = target_for(name, runtime)
    require(target)
    for capable, asked in (
        (target.calibrates, {"calibrate": True}),
        (target.takes_adapters, {"adapters": True}),
    ):
        if capable:
            target.require(**asked)
        else:
            with pytest.raises(HydraError, match=runtime):
                target.require(**asked)
    for attention in target.attentions:
        target.require(attention=attention)
    with pytest.raises(HydraError, match="attention `abacus`"):
        target.require(attention="abacus")
    with pytest.raises(HydraError, match="preset `abacus`"):
        target.require(preset="abacus")


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_a_missing_package_gives_the_line_that_installs_it(
    name: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_for(name, runtime)
    for package in target.packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf'pip install "hydra-mobile\[{target.extra}\]"'):
        target.require()


@pytest.mark.parametrize(("runtime", "preset"), EXPORTS)
def test_the_manifest_is_complete_and_true(runtime: str, preset: str, exported: Exported) -> None:
    bundle = Bundle.open(exported(runtime, preset))  # compares every hash
    target = target_of(bundle.manifest)
    assert (bundle.runtime, bundle.preset.name, bundle.limits) == (runtime, preset, LIMITS)
    assert set(bundle.manifest["versions"]) == set(target.packages)
    assert bundle.manifest.get("requires", {}) == dict(TARGETS[bundle.target].requires)
    found = {
        path.relative_to(bundle.folder).as_posix()
        for path in bundle.folder.rglob("*")
        if path.is_file()
    }
    assert found - set(bundle.manifest["files"]) == {MANIFEST, "README.md"}
    assert bundle.file("tokenizer").name == TOKENIZER
    if target.memory_facts:
        assert bundle.peak_bytes == target.memory(bundle.manifest).peak > bundle.size_bytes / 2
        assert target.memory_basis == bundle.manifest["footprint"]["basis"]
    coverage = bundle.manifest["details"].get("delegation")
    if coverage is not None:
        assert set(coverage) == set(METHODS)
        for shares in coverage.values():
            assert 0 <= shares["share_of_multiply_accumulates"] <= 1
    card = (bundle.folder / "README.md").read_text()
    assert f"for {target.title}, preset {preset}" in card
    for language in target.snippets(bundle.manifest):
        assert f"## Run it from {language}" in card


@pytest.mark.parametrize(("runtime", "preset"), EXPORTS)
def test_golden_vectors_replay(runtime: str, preset: str, exported: Exported) -> None:
    result = run_suite(exported(runtime, preset))
    assert len(result.comparisons) == 1
    if preset == "fp32":
        result.require()


@pytest.mark.slow  # a second export each
@pytest.mark.parametrize("runtime", RUNTIME_NAMES)
def test_the_same_input_gives_the_same_bytes(
    runtime: str,
    exported: Exported,
    tiny_merged: Path,
    golden_inputs: Inputs,
    tmp_path: Path,
) -> None:
    preset = target_for(platform_of(runtime), runtime).default_preset
    first = Bundle.open(exported(runtime, preset))
    again = export(runtime, preset, tiny_merged, tmp_path / "again", golden_inputs)
    assert again.manifest["files"] == first.manifest["files"]


@pytest.mark.parametrize("runtime", RUNTIME_NAMES)
def test_an_interrupted_export_leaves_nothing(
    runtime: str, tiny_merged: Path, golden_inputs: Inputs, tmp_path: Path
) -> None:
    def log(line: str) -> None:
        if "golden" in line:
            raise KeyboardInterrupt

    target = platform_of(runtime)
    require(target_for(target, runtime))
    with pytest.raises(KeyboardInterrupt):
        export_bundle(
            tiny_merged,
            target=target,
            runtime=runtime,
            preset="fp32",
            out=tmp_path / "bundle",
            golden_inputs=golden_inputs,
            limits=LIMITS,
            min_fast_path=MINIMUM,
            log=log,
        )
    assert list(tmp_path.iterdir()) == []
