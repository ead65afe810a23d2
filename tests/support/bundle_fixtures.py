"""Bundles of base `tiny` and of tiny families, and the native runner: made once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

from hydra_export.targets import Limits
from hydra_mobile.core.files import cache_home
from hydra_mobile.core.locks import exclusive
from hydra_mobile.devices import native_build

# Fixtures import what they need: the process that hands out the tests reads this file too, and
# nobody would use its torch.
if TYPE_CHECKING:
    from parity_chain import Chain

QUESTIONS = ("Is there a red car in the image?", "What is in the image?")

#: Makes a folder by a name and a function that fills it; the folder of before if there is one.
Once = Callable[[str, Callable[[Path], object]], Path]
#: Exports base `tiny`: runtime, preset, attention.
Exported = Callable[..., Path]


class Trained(NamedTuple):
    """Folders of a tiny base, of its adapter, and of both merged."""

    base: Path
    adapter: Path
    merged: Path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder once a session, whichever of the test processes needs it first.

    Tests must not write into what it returns.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own in it
    shared = root / "once"
    shared.mkdir(exist_ok=True)

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, unfinished = shared / name, shared / f"{name}.unfinished"
        if not folder.exists():
            with exclusive(shared / f"{name}.lock", f"the fixture {name}", wait=None):
                if not folder.exists():
                    shutil.rmtree(unfinished, ignore_errors=True)
                    fill(unfinished)
                    unfinished.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def golden_inputs() -> list[tuple[Image.Image, str]]:
    rng = np.random.default_rng(0)
    return [
        (Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)), question)
        for question in QUESTIONS
    ]


@pytest.fixture(scope="session")
def tiny_merged(once: Once) -> Path:
    from hydra_mobile.models.tiny import build

    def fill(folder: Path) -> None:
        folder.mkdir()
        build(folder, lambda _: None)

    return once("tiny", fill)


@pytest.fixture(scope="session")
def family_base(once: Once) -> Callable[[str], Path]:
    """Tiny random checkpoints by their name in `tiny_families.BASES`, to be read only."""
    from tiny_families import BASES

    def make(family: str) -> Path:
        def fill(folder: Path) -> None:
            folder.mkdir()
            BASES[family](folder)

        return once(f"base-{family}", fill)

    return make


@pytest.fixture(scope="session")
def smolvlm_base(family_base: Callable[[str], Path]) -> Path:
    """A tiny random checkpoint of SmolVLM's class, to be read only."""
    return family_base("smolvlm")


@pytest.fixture(scope="session")
def family_trained(
    family_base: Callable[[str], Path], run_settings: Callable[[Path], list[str]], once: Once
) -> Callable[[str], Trained]:
    """Tiny checkpoints by their name in `tiny_families.BASES`, trained with HyDRA and merged.

    Tests must not write into them.
    """
    from family_training import train_and_merge

    def make(family: str) -> Trained:
        base = family_base(family.removesuffix("_tiles"))

        def fill(folder: Path) -> None:
            run = folder / "run"
            train_and_merge(family, base, run_settings(run), run)

        folder = once(f"trained-{family}", fill)
        return Trained(base, folder / "run" / "adapter", folder / "merged")

    return make


#: Of the bundles of tiny families: a prompt with five tiles fits, and one with a picture in one go.
_FAMILY_LIMITS = Limits(max_context=96, max_prefill=48)


@pytest.fixture(scope="session")
def family_bundle(
    family_base: Callable[[str], Path],
    golden_inputs: list[tuple[Image.Image, str]],
    once: Once,
) -> Exported:
    """Bundles of tiny untrained checkpoints by name, runtime and preset.

    Tests must not write into them. A runtime whose packages are missing skips the test.
    """
    import target_bundles

    def make(family: str, runtime: str, preset: str = "fp32") -> Path:
        base = family_base(family)

        def fill(folder: Path) -> None:
            target_bundles.export(
                runtime, preset, base, folder, golden_inputs, limits=_FAMILY_LIMITS
            )

        return once(f"{family}-{runtime}-{preset}", fill)

    return make


@pytest.fixture(scope="session")
def trained_bundle(
    family_trained: Callable[[str], Trained],
    golden_inputs: list[tuple[Image.Image, str]],
    once: Once,
) -> Exported:
    """The same of what `family_trained` has merged: the end of a family's whole way."""
    import target_bundles

    def make(family: str, runtime: str, preset: str = "fp32") -> Path:
        def fill(folder: Path) -> None:
            merged = family_trained(family).merged
            target_bundles.export(
                runtime, preset, merged, folder, golden_inputs, limits=_FAMILY_LIMITS
            )

        return once(f"trained-{family}-{runtime}-{preset}", fill)

    return make


@pytest.fixture(scope="session")
def checked_bundle(family_bundle: Exported, trained_bundle: Exported) -> Exported:
    """Bundles in fp32 by family and runtime: trained, but for the one that is tested every day."""
    from tiny_families import QUICK

    def make(family: str, runtime: str) -> Path:
        bundle = family_bundle if (family, runtime) == QUICK else trained_bundle
        return bundle(family, runtime)

    return make


@pytest.fixture(scope="session")
def exported(
    tiny_merged: Path, golden_inputs: list[tuple[Image.Image, str]], once: Once
) -> Exported:
    """Bundles of `tiny` by runtime, preset and attention.

    Tests must not write into them. A runtime whose packages are missing skips the test.
    """
    import target_bundles

    def make(runtime: str, preset: str = "fp32", attention: str = "auto") -> Path:
        def fill(folder: Path) -> None:
            target_bundles.export(runtime, preset, tiny_merged, folder, golden_inputs, attention)

        return once(f"{runtime}-{preset}-{attention}", fill)

    return make


@pytest.fixture(scope="session")
def fp32_bundle(exported: Exported) -> Path:
    """ExecuTorch, fp32. Tests must not write into it; `copied` makes one that they may."""
    return exported("executorch", "fp32")


@pytest.fixture(scope="session")
def int4_bundle(exported: Exported) -> Path:
    return exported("executorch", "int4")


@pytest.fixture
def copied(fp32_bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the fp32 bundle that a test may spoil."""

    def copy() -> Path:
        return Path(shutil.copytree(fp32_bundle, tmp_path / "copy"))

    return copy


@pytest.fixture(scope="session")
def sound_chain(tiny_base: Path, golden_inputs: list[tuple[Image.Image, str]], once: Once) -> Chain:
    """Adapter, merged model and ONNX fp32 bundle of one model. Tests must not write into it."""
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    from parity_chain import Chain, export, make_adapter

    from hydra_export.merge import merge

    def fill(folder: Path) -> None:
        adapter = make_adapter(tiny_base, folder / "adapter")
        merge(tiny_base, adapter, folder / "merged")
        export(folder / "merged", folder / "bundle", golden_inputs)

    folder = once("chain", fill)
    return Chain(folder / "adapter", folder / "merged", folder / "bundle")


@pytest.fixture
def chain(sound_chain: Chain, tmp_path: Path) -> Chain:
    """A copy that a test may spoil."""
    from parity_chain import Chain

    return Chain(*(Path(shutil.copytree(path, tmp_path / path.name)) for path in sound_chain))


@pytest.fixture(scope="session")
def build_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is built in pytest's own cache: compiling takes longer than all tests here."""
    # There is none with `-p no:cacheprovider`.
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("hydra-native") if cache else tmp_path_factory.mktemp("hydra-native")
    for shelf in ("native", "wheels"):
        (kept / shelf).mkdir(exist_ok=True)
        place = cache_home() / shelf
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(kept / shelf, target_is_directory=True)


@pytest.fixture(scope="session")
def binary(build_cache: None) -> Path:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    if missing := native_build.missing_packages(native_build.X86_64):
        pytest.skip(f"the native runner cannot be built without {', '.join(missing)}")
    return native_build.native_runner(native_build.host())
