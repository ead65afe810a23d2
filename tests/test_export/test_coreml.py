"""The CoreML target and its runner, on base `tiny`: packages read back and interpreted."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_fixtures import Exported
from manifests import edited_manifest

from hydra_export.targets import TARGETS, target_for
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError, ParityError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.loading import load_model
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.runtimes.model_ref import model_at

pytest.importorskip("coremltools", reason="needs the extra [coreml]")

from hydra_export.graphs.embedding import TokenEmbedding
from hydra_export.targets.coreml import check as coreml_check
from hydra_export.targets.coreml.check import LARGEST_STEP, compare_weights
from hydra_mobile.runtimes.coreml import interpreter as mil_interpreter
from hydra_mobile.runtimes.coreml import runtime as coreml_runner
from hydra_mobile.runtimes.coreml.availability import INTERPRETED, NATIVE
from hydra_mobile.runtimes.coreml.program import read_program
from hydra_mobile.runtimes.coreml.runtime import CoreMLRuntime, NativeEngine

pytestmark = pytest.mark.coreml

IDS = [5, 80, 17, 200, 3, 44, 260, 91, 130, 7, 61, 18, 299, 150, 33, 72, 8, 211, 64, 12, 101]
#: Preset -> largest difference of logits, whose spread is about 1.
LOGITS = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.3}
#: Each further preset is an export of a quarter of a minute.
PRESETS = ["fp32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fp16", "int8"))]


class Made(dict[str, Any]):
    """What is made for a preset when a test first asks for it."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, preset: str) -> Any:
        self[preset] = self._make(preset)
        return self[preset]


@pytest.fixture(scope="session")
def model(tiny_merged: Path) -> Any:
    return load_model(tiny_merged)


@pytest.fixture(scope="session")
def bundles(exported: Exported) -> dict[str, Path]:
    return Made(lambda preset: exported("coreml", preset))


@pytest.fixture(scope="session")
def loaded(bundles: dict[str, Path]) -> dict[str, CoreMLRuntime]:
    return Made(lambda preset: CoreMLRuntime.load(bundles[preset]))


@pytest.fixture
def runner(loaded: dict[str, CoreMLRuntime]) -> CoreMLRuntime:
    return loaded["fp32"]


def eager_logits(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].numpy()


def test_ios_is_coreml_unless_told_otherwise() -> None:
    assert target_for("ios").runtime == TARGETS["ios"].default_runtime == "coreml"
    assert target_for("onnx").runtime == "onnx"


@pytest.mark.parametrize("preset", PRESETS)
def test_saved_interface_is_fixed_and_without_state(bundles: dict[str, Path], preset: str) -> None:
    bundle = Bundle.open(bundles[preset])
    kind = "fp32" if preset == "fp32" else "fp16"
    decoder = read_program(bundle.file("text_decoder").parent)
    assert set(decoder.functions) == {"prefill", "decode"}
    for name, rows in (("prefill", 16), ("decode", 1)):
        function = decoder.functions[name]
        assert {key: str(value) for key, value in function.inputs.items()} == {
            "embeddings": f"{kind}[1, {rows}, 64]",
            "position": "int32[1]",
            "count": "int32[1]",
            "keys": f"{kind}[2, 2, 80, 16]",
            "values": f"{kind}[2, 2, 80, 16]",
        }
        assert {key: str(value) for key, value in function.outputs.items()} == {
            "logits": f"{kind}[1, 1, 320]",
            "new_keys": f"{kind}[2, 2, {rows}, 16]",
            "new_values": f"{kind}[2, 2, {rows}, 16]",
        }
        assert function.states == ()
        # One matmul for scores and one for sums, over the cache and over the new rows.
        assert function.kinds()["matmul"] == 4 * 2
        assert ("constexpr_blockwise_shift_scale" in function.kinds()) == (preset == "int8")
    vision = read_program(bundle.file("vision_encoder").parent).functions["main"]
    assert str(vision.inputs["pixels"]) == f"{kind}[1, 3, 32, 32]"
    stored = bundle.manifest["details"]
    assert stored["interface"]["text_decoder"]["decode"]["outputs"]["logits"].startswith(kind)
    assert stored["execution"] == INTERPRETED
    assert stored["cache"]["shape"] == [2, 2, 80, 16]


@pytest.mark.slow
def test_functions_share_their_weights(bundles: dict[str, Path], model: Any) -> None:
    """A decoder of two functions is hardly larger than its parameters."""
    parameters = sum(p.numel() for p in model.language_model.parameters())
    tables = 4 * 2 * 96 * 16  # cos and sin
    for preset, size in (("fp32", 4), ("fp16", 2)):
        stored = Bundle.open(bundles[preset]).file("text_decoder_weights").stat().st_size
        assert size * parameters < stored < 1.1 * size * parameters + tables + 20_000


@pytest.mark.slow
def test_weights_were_compared_with_their_source(bundles: dict[str, Path]) -> None:
    for preset in ("fp32", "fp16"):
        facts = Bundle.open(bundles[preset]).manifest["details"]["weights"]
        for role in facts:
            assert facts[role]["compared"] == facts[role]["exact"] > 0
    facts = Bundle.open(bundles["int8"]).manifest["details"]["weights"]["text_decoder"]
    assert facts["int8"] == 2 * (4 * 2 + 1)  # linears of two layers and the head, two functions
    assert 0.3 < facts["largest_int8_error_in_steps"] <= LARGEST_STEP


@pytest.mark.slow
def test_int8_says_what_it_is(bundles: dict[str, Path]) -> None:
    manifest = Bundle.open(bundles["int8"]).manifest
    assert any("w8a8" in line and "w8," in line for line in manifest["fallbacks"])
    assert Bundle.open(bundles["fp16"]).manifest["fallbacks"] == []
    weights = [Bundle.open(bundles[p]).file("text_decoder_weights").stat().st_size for p in LOGITS]
    assert weights[1] < 0.6 * weights[0]
    assert weights[2] < 0.7 * weights[1]


@pytest.mark.parametrize("preset", PRESETS)
def test_interpreted_program_equals_eager(
    loaded: dict[str, CoreMLRuntime], model: Any, preset: str
) -> None:
    """Prefill in two chunks, the second padded, then single steps, against full recompute."""
    runner = loaded[preset]
    expected = eager_logits(model, IDS)
    logits, state = runner.decode(runner.embed(IDS[:18]), CacheState())
    np.testing.assert_allclose(logits, expected[17], atol=LOGITS[preset])
    for at in range(18, 21):
        logits, state = runner.decode(runner.embed([IDS[at]]), state)
        np.testing.assert_allclose(logits, expected[at], atol=LOGITS[preset])
    pixels = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        image = model.encode_image(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(runner.encode_image(pixels), image, atol=0.1 * LOGITS[preset])


@pytest.mark.slow
def test_reduced_precision_is_visible(loaded: dict[str, CoreMLRuntime], model: Any) -> None:
    """The interpreter rounds: half precision is closer than int8, and neither is exact."""
    expected = eager_logits(model, IDS)[-1]
    errors = []
    for preset in LOGITS:
        runner = loaded[preset]
        errors.append(np.abs(runner.decode(runner.embed(IDS), CacheState())[0] - expected).max())
    assert errors[0] < 1e-4 < 1e-3 < errors[1] < errors[2]


def test_the_cache_can_be_filled_to_its_end_and_no_further(
    runner: CoreMLRuntime, model: Any
) -> None:
    ids = (IDS * 4)[:80]
    logits, state = runner.decode(runner.embed(ids[:79]), CacheState())
    np.testing.assert_allclose(logits, eager_logits(model, ids)[78], atol=1e-4)
    logits, state = runner.decode(runner.embed(ids[79:]), state)
    np.testing.assert_allclose(logits, eager_logits(model, ids)[79], atol=1e-4)
    with pytest.raises(HydraError, match=r"80 tokens.* 1 "):
        runner.decode(runner.embed([3]), state)


def test_what_an_earlier_prompt_left_behind_is_not_seen(runner: CoreMLRuntime, model: Any) -> None:
    runner.decode(runner.embed(IDS[::-1]), CacheState())
    logits, first = runner.decode(runner.embed(IDS[:7]), CacheState())
    np.testing.assert_allclose(logits, eager_logits(model, IDS[:7])[-1], atol=1e-4)
    _, second = runner.decode(runner.embed(IDS[7:9]), first)
    runner.decode(runner.embed([8]), first)
    with pytest.raises(HydraError, match="forgotten"):
        runner.decode(runner.embed([9]), second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.embed([1, 100_000]), r"Token ids \[100000\] lie outside"),
        (lambda r: r.encode_image(np.zeros((1, 3, 16, 16), np.float32)), "Pixels have shape"),
        (lambda r: r.decode(np.zeros((1, 0, 64), np.float32), CacheState()), "Embeddings have"),
    ],
)
def test_wrong_input_is_an_error(
    runner: CoreMLRuntime, call: Callable[[CoreMLRuntime], object], message: str
) -> None:
    with pytest.raises(HydraError, match=message):
        call(runner)


def test_verify_and_reports_say_that_no_apple_hardware_ran(bundles: dict[str, Path]) -> None:
    ladder = run_suite(bundles["fp32"])
    assert ladder.passed
    told = "converted and interpreted, not executed on Apple hardware"
    assert f"CoreML fp32 ({told}): pass" in ladder.table()
    assert told in ladder.rows()[0].rung
    assert model_at(str(bundles["fp32"])).name == f"CoreML fp32 ({told})"


@pytest.mark.parametrize("preset", PRESETS)
def test_verify_runs_the_golden_vectors_through_the_program(
    bundles: dict[str, Path], preset: str
) -> None:
    result = run_suite(bundles[preset])
    assert result.passed, result.table()


def test_verify_catches_a_flipped_weight(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles["fp32"], tmp_path / "spoilt"))
    name = "text_decoder.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray((folder / name).read_bytes())
    floats = np.frombuffer(data, np.float32)
    # A number of the last third: the head or the last layer; entries between weights are no floats
    # of this size.
    place = next(i for i in range(2 * len(floats) // 3, len(floats)) if 0.01 < floats[i] < 1)
    data[4 * place : 4 * place + 4] = np.float32(-40 * floats[place]).tobytes()
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"weight\.bin .*sha256"):
        run_suite(folder)
    with edited_manifest(folder) as manifest:
        manifest["files"][name]["sha256"] = sha256_of(folder / name)
    result = run_suite(folder)
    assert not result.passed
    assert "logits differ" in " ".join(result.comparisons[0].failures)


@pytest.mark.slow
def test_on_a_mac_the_runner_asks_coreml(
    bundles: dict[str, Path], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for CoreML, which cannot be had here."""
    asked: list[tuple[str, str | None]] = []

    class Model:
        def __init__(self, folder: Path, function: str | None) -> None:
            self.function = function or "main"
            self.interpreter = mil_interpreter.Interpreter(folder)
            asked.append((folder.name, function))

        def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            declared = self.interpreter.program.functions[self.function].inputs
            names = {"fp16": np.float16, "int32": np.int32}
            assert {k: v.dtype for k, v in inputs.items()} == {
                k: names[kind.dtype] for k, kind in declared.items()
            }
            return self.interpreter.run(self.function, inputs)

    monkeypatch.setattr(coreml_runner, "native_available", lambda: True)
    monkeypatch.setattr(coreml_runner, "_load_native", Model)
    runner = CoreMLRuntime.load(bundles["fp16"])
    assert runner.execution == NATIVE
    assert isinstance(runner._engines["text_decoder"], NativeEngine)
    assert ("text_decoder.mlpackage", "decode") in asked
    assert ("vision_encoder.mlpackage", None) in asked
    logits, _ = runner.decode(runner.embed(IDS), CacheState())
    np.testing.assert_allclose(logits, eager_logits(model, IDS)[-1], atol=LOGITS["fp16"])


def test_refuses_a_bundle_of_another_runtime(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles["fp32"], tmp_path / "other"))
    with edited_manifest(folder) as manifest:
        manifest["runtime"] = "onnx"
    with pytest.raises(ArtifactError, match=r"`onnx`.*`coreml`"):
        CoreMLRuntime.load(folder)


def test_a_missing_extra_gives_the_install_line(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(HydraError, match=r'pip install "hydra-mobile\[coreml\]"'):
        CoreMLRuntime.load(bundles["fp32"])
    with pytest.raises(HydraError, match=r'pip install "hydra-mobile\[coreml\]"'):
        target_for("ios", "coreml").require()


def test_an_unknown_operator_is_named(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(mil_interpreter.OPERATORS, "softmax")
    with pytest.raises(HydraError, match="softmax"):
        CoreMLRuntime.load(bundles["fp32"])


def test_a_damaged_package_is_an_error_that_names_the_file(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    package = Bundle.open(bundles["fp32"]).file("token_embedding").parent
    short = Path(shutil.copytree(package, tmp_path / "short.mlpackage"))
    weights = short / "Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"weight\.bin.*81920"):
        read_program(short)
    (short / "Data/com.apple.CoreML/model.mlmodel").write_bytes(b"\xff\xff nonsense")
    with pytest.raises(ArtifactError, match=r"model\.mlmodel"):
        read_program(short)


@pytest.mark.slow
def test_exchanged_weights_are_found_on_export(
    bundles: dict[str, Path], model: Any, tmp_path: Path
) -> None:
    package = Bundle.open(bundles["int8"]).file("token_embedding").parent
    module = TokenEmbedding(model.language_model)
    assert compare_weights(package, module, {"table.weight"})["int8"] == 2
    spoilt = Path(shutil.copytree(package, tmp_path / "spoilt.mlpackage"))
    weights = spoilt / "Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0x40
    weights.write_bytes(bytes(data))
    with pytest.raises(ParityError, match="`p_table_weight`"):
        compare_weights(spoilt, module, {"table.weight"})


@pytest.mark.slow
def test_a_dead_channel_may_lose_its_tiny_weights_and_no_other_may(
    bundles: dict[str, Path], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded batch normalization leaves channels whose fp16 scale rounds to zero."""
    package = Bundle.open(bundles["int8"]).file("token_embedding").parent
    module = copy.deepcopy(TokenEmbedding(model.language_model))
    weight = module.table.weight.detach().numpy()
    stored, scale = np.zeros_like(weight), np.zeros((len(weight), 1), np.float16)
    monkeypatch.setattr(
        coreml_check, "stored_tensors", lambda _: [("p_table_weight_quantized", stored, scale)]
    )
    module.table.weight.data = torch.full_like(module.table.weight, 3e-6)
    assert compare_weights(package, module, {"table.weight"})["int8"] == 2
    # A scale of 1.4 times the smallest fp16 number is stored as that number.
    scale[:] = 2.0**-24
    module.table.weight.data[:] = 127 * 1.4 * 2.0**-24
    stored[:] = 127 * 2.0**-24
    assert compare_weights(package, module, {"table.weight"})["int8"] == 2
    scale[3] = 0
    module.table.weight.data[3, 5] = 1e-4
    with pytest.raises(ParityError, match=r"`p_table_weight`.* inf"):
        compare_weights(package, module, {"table.weight"})


@pytest.mark.slow
def test_the_interpreter_holds_the_program_to_its_types(loaded: dict[str, CoreMLRuntime]) -> None:
    engine: Any = loaded["fp16"]._engines["token_embedding"]
    with pytest.raises(HydraError, match=r"\[1, 3\].*int32\[1, 1\]"):
        engine.run("decode", {"ids": np.zeros((1, 3), np.int32)})
    with pytest.raises(HydraError, match="int16"):
        engine.run("decode", {"ids": np.full((1, 1), 40_000, np.int32)})
    with pytest.raises(HydraError, match=r"`main`.*decode, prefill"):
        engine.run("main", {})
    found = engine.run("decode", {"ids": np.array([[7]], np.int32)})["token_embeddings"]
    np.testing.assert_array_equal(found, found.astype(np.float16))
