"""What every runtime promises, over the registry: a new one is tested by being registered."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import Exported
from manifests import edited_manifest
from PIL import Image

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError, MissingPackageError
from hydra_mobile.runtimes import RUNTIMES, runtime_class
from hydra_mobile.runtimes.base import BundleRuntime, CacheState, Runtime
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.torch import TorchRuntime

IDS = [5, 80, 17, 200, 3, 44, 260, 91, 130, 7, 61, 18, 299, 150, 33, 72, 8, 211, 64, 12, 101]
#: Runtimes that another tool has to be built for first.
_SLOW = ("native", "emulator")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in RUNTIMES]

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tiny_merged: Path, exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return what a runtime runs: a lossless bundle of `tiny`, or `tiny` itself."""

    def make(name: str) -> Path:
        kind = runtime_class(name)
        if not issubclass(kind, BundleRuntime):
            return tiny_merged
        bundle = exported(kind.format or name)
        if name not in _SLOW:
            return bundle
        # The C++ runner writes into a bundle what it has hashed, and others share that one.
        return Path(shutil.copytree(bundle, tmp_path_factory.mktemp(name) / "bundle"))

    return make


@pytest.fixture(scope="module")
def loaded(made: Made) -> Callable[[str], Runtime]:
    """Load a runtime once for all tests."""
    found: dict[str, Runtime] = {}

    def load(name: str) -> Runtime:
        if name not in found:
            kind = runtime_class(name)
            try:
                kind.require_installed()
                found[name] = kind.load(made(name), threads=1)
            except MissingPackageError as error:
                pytest.skip(str(error))
        return found[name]

    return load


def answers(runtime: Runtime, inputs: list[tuple[Image.Image, str]]) -> list[list[int]]:
    generator = Generator(runtime)
    asked = [(question, lambda picture=picture: picture) for picture, question in inputs]
    return [
        *(generator.answer(question, picture, max_new_tokens=6).ids for question, picture in asked),
        generator.answer("What is a car?", max_new_tokens=6).ids,
    ]


def test_a_class_is_looked_at_without_its_runtime() -> None:
    """Help, listings and titles are there before anything heavy is imported."""
    code = (
        "import sys\nfrom hydra_mobile.runtimes import RUNTIMES, runtime_class\n"
        "for name in RUNTIMES:\n"
        "    if name != 'torch':\n"
        "        kind = runtime_class(name)\n"
        "        assert kind.name == name\n"
        "        assert kind.title and kind.summary and kind.label('int4').startswith(kind.title)\n"
        "heavy = {'torch', 'executorch', 'onnxruntime', 'coremltools'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_that_answers_with_a_bundle_starts_without_the_training_packages() -> None:
    code = (
        "import sys\nimport hydra_mobile.evaluation.workers.process\n"
        "from hydra_mobile.runtimes import RUNTIMES, runtime_class\n"
        "from hydra_mobile.runtimes.base import BundleRuntime\n"
        "for name in RUNTIMES:\n"
        "    if name != 'torch': assert issubclass(runtime_class(name), BundleRuntime)\n"
        "    heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "    assert name == 'torch' or not heavy, (name, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_gives_the_line_that_installs_it(
    name: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = runtime_class(name)
    if not kind.packages:
        pytest.skip("needs no optional package")
    path = made(name)
    for package in kind.packages:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf'pip install "hydra-mobile\[{kind.extra}\]"'):
        kind.load(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_for_another_runtime_is_refused(name: str, made: Made, tmp_path: Path) -> None:
    kind = runtime_class(name)
    if issubclass(kind, BundleRuntime):
        folder = Path(shutil.copytree(made(name), tmp_path / "bundle"))
    else:
        folder = Path(shutil.copytree(made("onnx"), tmp_path / "bundle"))
    with edited_manifest(folder) as manifest:
        manifest["runtime"] = "abacus"
    with pytest.raises(ArtifactError, match="abacus"):
        kind.load(Bundle.open(folder))


@pytest.mark.parametrize("name", NAMES)
def test_an_opened_bundle_is_not_hashed_again_and_an_altered_one_is_refused(
    name: str, made: Made, loaded: Callable[[str], Runtime], tmp_path: Path
) -> None:
    kind = runtime_class(name)
    if not issubclass(kind, BundleRuntime):
        pytest.skip("runs no bundles")
    loaded(name)
    folder = Path(shutil.copytree(made(name), tmp_path / "bundle"))
    with (folder / "tokenizer.json").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read()
        file.seek(-1, 2)
        file.write(b" " if last != b" " else b"\n")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        kind.load(folder)
    # Nobody has compared the hashes of this one yet, so `load` does.
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        kind.load(Bundle.open(folder, verify_hashes=False))


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_equal_torchs(
    name: str,
    loaded: Callable[[str], Runtime],
    tiny_merged: Path,
    golden_inputs: list[tuple[Image.Image, str]],
) -> None:
    runtime = loaded(name)
    assert answers(runtime, golden_inputs) == answers(TorchRuntime.load(tiny_merged), golden_inputs)


@pytest.mark.parametrize("name", NAMES)
def test_two_loads_answer_alike(
    name: str,
    made: Made,
    loaded: Callable[[str], Runtime],
    golden_inputs: list[tuple[Image.Image, str]],
) -> None:
    first = answers(loaded(name), golden_inputs)
    assert answers(runtime_class(name).load(made(name), threads=1), golden_inputs) == first


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_are_refused_and_not_computed(
    name: str, loaded: Callable[[str], Runtime]
) -> None:
    runtime = loaded(name)
    side, hidden = runtime.image_size, runtime.hidden_size
    with pytest.raises(HydraError, match="Pixels"):
        runtime.encode_image(np.zeros((1, 3, side, side + 1), np.float32))
    for wrong in (-1, runtime.vocab_size):
        with pytest.raises(HydraError, match=str(wrong)):
            runtime.embed([1, wrong])
    assert runtime.embed([]).shape == (1, 0, hidden)
    for shape in ((1, 0, hidden), (2, 1, hidden), (1, 1, hidden + 1), (1, hidden)):
        with pytest.raises(HydraError, match="Embeddings"):
            runtime.decode(np.zeros(shape, np.float32), CacheState())


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_holds_max_context_and_goes_back(
    name: str, loaded: Callable[[str], Runtime]
) -> None:
    runtime = loaded(name)
    x = runtime.embed(IDS)
    expected, _ = runtime.decode(x, CacheState())
    # In two calls, after a detour that is forgotten when the first state is used again.
    _, state = runtime.decode(x[:, :9], CacheState())
    assert state.length == 9
    runtime.decode(x[:, 3:12], state)
    found, state = runtime.decode(x[:, 9:], state)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (state.length, found.shape) == (len(IDS), (runtime.vocab_size,))
    over = np.zeros((1, runtime.max_context - state.length + 1, runtime.hidden_size), np.float32)
    with pytest.raises(HydraError, match=rf"max_context.*{runtime.max_context}"):
        runtime.decode(over, state)
    # Refused before anything was written: it goes on from where it was.
    runtime.decode(x[:, :1], state)


@pytest.mark.parametrize("name", NAMES)
def test_times_and_memory_are_counted(name: str, loaded: Callable[[str], Runtime]) -> None:
    runtime = loaded(name)
    assert runtime.load_seconds > 0
    before = runtime.seconds
    runtime.decode(runtime.embed([3]), CacheState())
    assert runtime.seconds > before >= 0
    assert runtime.peak_memory() > 1_000_000
