"""An export that was cut short while it rounded goes on there, and gives the same bundle."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import target_bundles
from damage import flip_bit

import hydra_export.quantization.gptq as gptq
import hydra_export.quantization.sensitivity as sensitivity
from hydra_export.export import export_bundle
from hydra_export.quantization.unfinished import SHELF
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.presets import Preset, preset_named
from hydra_mobile.core.files import cache_home

TOLD = "cut short"
INT4 = preset_named("int4")
#: `tiny` has no byte to spare for 8 bits, and nothing is measured.
ROOMY = dataclasses.replace(INT4, budget=4.1)


class Stop:
    """Counts calls of a function, and stops the export before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls, self.at, function = 0, -1, getattr(module, name)

        def counted(*given: Any, **named: Any) -> Any:
            if self.calls == self.at:
                raise KeyboardInterrupt
            self.calls += 1
            return function(*given, **named)

        patch.setattr(module, name, counted)

    def before(self, call: int) -> None:
        """Stop before this call, counted from now; -1: never."""
        self.calls, self.at = 0, call


@pytest.fixture
def export(
    tiny_merged: Path, golden_inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, str], list[str]]]:
    """Export into a folder of this name; returns the hashes of its files, and what was said."""
    pytest.importorskip("onnx", reason="needs the extra [onnx]")
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    model = Path(shutil.copytree(tiny_merged, tmp_path / "model"))

    def run(name: str, preset: Preset = INT4) -> tuple[dict[str, str], list[str]]:
        said: list[str] = []
        bundle: Bundle = export_bundle(
            model,
            target="android",
            runtime="onnx",
            preset=preset,
            out=tmp_path / name,
            golden_inputs=golden_inputs[:1],
            limits=target_bundles.LIMITS,
            min_fast_path=0.0,
            log=said.append,
        )
        files = bundle.manifest["files"].items()
        return {name: entry["sha256"] for name, entry in files}, said

    return run


@pytest.fixture
def whole(export: Any) -> dict[str, str]:
    """The files of an export that nothing stopped; its cache is gone."""
    files, said = export("whole")
    assert not any(TOLD in line for line in said)
    shutil.rmtree(cache_home())
    return dict(files)


def test_units_that_were_rounded_are_not_rounded_again(
    export: Any, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop(monkeypatch, gptq, "round_calibrated")
    stop.before(3)
    with pytest.raises(KeyboardInterrupt):
        export("bundle")
    stop.before(-1)
    files, said = export("bundle")
    assert files == whole
    assert any(TOLD in line for line in said)
    again = stop.calls
    # Nothing is left of the unfinished one, and an export from the start rounds three units more.
    assert not list((cache_home() / SHELF).iterdir())
    shutil.rmtree(cache_home())
    stop.before(-1)
    assert export("bundle-again")[0] == whole
    assert stop.calls == again + 3


def test_costs_that_were_measured_are_not_measured_again(
    export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Stop(monkeypatch, sensitivity, "round_nearest")
    # In the second layer; the first has four units.
    stop.before(5)
    with pytest.raises(KeyboardInterrupt):
        export("bundle", ROOMY)
    stop.before(-1)
    files, said = export("bundle", ROOMY)
    assert any(TOLD in line for line in said)
    again = stop.calls
    shutil.rmtree(cache_home())
    stop.before(-1)
    assert export("bundle-again", ROOMY)[0] == files
    assert stop.calls == again + 4


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
def test_a_damaged_unit_is_rounded_anew(
    export: Any, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    stop = Stop(monkeypatch, gptq, "round_calibrated")
    stop.before(3)
    with pytest.raises(KeyboardInterrupt):
        export("bundle")
    kept = sorted((cache_home() / SHELF).rglob(f"layers*{ending}"))
    assert len(kept) == 3
    flip_bit(kept[0], 0.6)
    stop.before(-1)
    assert export("bundle")[0] == whole
