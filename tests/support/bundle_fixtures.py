"""Bundles of base `tiny`, exported once for all tests of the session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity_chain import Chain, export, make_adapter
from PIL import Image

from hydra_mobile.models.tiny import build

QUESTIONS = ("Is there a red car in the image?", "What is in the image?")


@pytest.fixture(scope="session")
def golden_inputs() -> list[tuple[Image.Image, str]]:
    rng = np.random.default_rng(0)
    return [
        (Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)), question)
        for question in QUESTIONS
    ]


@pytest.fixture(scope="session")
def tiny_merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "merged"
    folder.mkdir()
    build(folder, lambda _: None)
    return folder


@pytest.fixture(scope="session")
def smolvlm_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint of SmolVLM's class, to be read only."""
    from tiny_families import smolvlm

    folder = tmp_path_factory.mktemp("smolvlm") / "base"
    folder.mkdir()
    smolvlm(folder)
    return folder


def _exported(preset: str, merged: Path, inputs: list[tuple[Image.Image, str]], out: Path) -> Path:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    from hydra_export.export import export_bundle
    from hydra_export.targets import Limits

    bundle = export_bundle(
        merged,
        target="android",
        runtime="executorch",
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=Limits(max_context=80, max_prefill=16),
    )
    return bundle.folder


@pytest.fixture(scope="session")
def fp32_bundle(
    tiny_merged: Path,
    golden_inputs: list[tuple[Image.Image, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """ExecuTorch, fp32. Tests must not write into it; `copied` makes one that they may."""
    return _exported("fp32", tiny_merged, golden_inputs, tmp_path_factory.mktemp("fp32") / "b")


@pytest.fixture(scope="session")
def int4_bundle(
    tiny_merged: Path,
    golden_inputs: list[tuple[Image.Image, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return _exported("int4", tiny_merged, golden_inputs, tmp_path_factory.mktemp("int4") / "b")


@pytest.fixture
def copied(fp32_bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the fp32 bundle that a test may spoil."""

    def copy() -> Path:
        return Path(shutil.copytree(fp32_bundle, tmp_path / "copy"))

    return copy


@pytest.fixture(scope="session")
def sound_chain(
    tiny_base: Path,
    golden_inputs: list[tuple[Image.Image, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Chain:
    """Adapter, merged model and ONNX fp32 bundle of one model. Tests must not write into it."""
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    from hydra_export.merge import merge

    folder = tmp_path_factory.mktemp("chain")
    adapter = make_adapter(tiny_base, folder / "adapter")
    merge(tiny_base, adapter, folder / "merged")
    bundle = export(folder / "merged", folder / "bundle", golden_inputs)
    return Chain(adapter, folder / "merged", bundle)


@pytest.fixture
def chain(sound_chain: Chain, tmp_path: Path) -> Chain:
    """A copy that a test may spoil."""
    return Chain(*(Path(shutil.copytree(path, tmp_path / path.name)) for path in sound_chain))
