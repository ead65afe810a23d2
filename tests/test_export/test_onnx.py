"""The ONNX target and its runner, on base `tiny`."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hydra_export.export import export_bundle
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.targets.onnx import graph_writer
from hydra_export.targets.onnx import graph_writer as onnx_graph
from hydra_export.targets.onnx.linear import Linear, emit_linear
from hydra_export.targets.onnx.target import OnnxTarget
from hydra_mobile.adapters.int4_grid import round_nearest
from hydra_mobile.bundle.bundle import write_manifest
from hydra_mobile.bundle.interface import Limits, TargetResult
from hydra_mobile.bundle.presets import preset_named
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.runtimes.onnx import OnnxRuntime

LIMITS = Limits(max_context=48, max_prefill=16)


@pytest.fixture(scope="module")
def model(tiny_merged: Path) -> MobileVLMForConditionalGeneration:
    return MobileVLMForConditionalGeneration.from_pretrained(tiny_merged).eval()


@pytest.fixture(scope="module")
def exported(
    model: MobileVLMForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, TargetResult]]:
    made = {}
    for name in ("fp32", "fp16", "int4"):
        folder = tmp_path_factory.mktemp(name)
        made[name] = (
            folder,
            OnnxTarget().write(model, preset_named(name), folder, LIMITS, lambda _: None),
        )
    return made


def bundle_of(files: dict[str, Path], base: Path, folder: Path) -> Path:
    """Make a bundle of copies of graphs, by their roles."""
    folder.mkdir()
    names = {}
    for role, file in files.items():
        # Weights beside a graph are found by the name that the graph has for them.
        names[role] = f"{role}-{file.name}" if file.name in names.values() else file.name
        shutil.copy(file, folder / names[role])
    text = load_model(base).config.text_config
    write_manifest(
        folder,
        target="onnx",
        runtime="onnx",
        preset=preset_named("fp32"),
        limits=LIMITS,
        shapes={"vocab_size": text.vocab_size, "hidden_size": text.hidden_size},
        processor=MobileVLMProcessor.from_pretrained(base),
        result=TargetResult(names),
        other_files={},
        sources={},
    )
    return folder


def runner_of(exported: tuple[Path, TargetResult], base: Path, tmp_path: Path) -> OnnxRuntime:
    folder, result = exported
    files = {role: folder / name for role, name in result.files.items()}
    return OnnxRuntime.load(bundle_of(files, base, tmp_path / "bundle"), threads=1)


@pytest.fixture
def files(exported: dict[str, tuple[Path, TargetResult]]) -> dict[str, Path]:
    folder, result = exported["fp32"]
    return {role: folder / name for role, name in result.files.items()}


@pytest.fixture
def runner(
    exported: dict[str, tuple[Path, TargetResult]], tiny_merged: Path, tmp_path: Path
) -> OnnxRuntime:
    return runner_of(exported["fp32"], tiny_merged, tmp_path)


def torch_logits(model: MobileVLMForConditionalGeneration, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].numpy()


def test_files_have_the_names_that_phone_apps_read(exported):
    folder, result = exported["fp32"]
    graphs = ("vision_encoder.onnx", "embed_tokens.onnx", "decoder_model_merged.onnx")
    names = {name for graph in graphs for name in (graph, f"{graph}_data")}
    assert set(result.files.values()) == names
    assert {path.name for path in folder.iterdir()} == names
    decoder = onnx.load(folder / "decoder_model_merged.onnx").graph
    inputs = [value.name for value in decoder.input]
    assert inputs[:3] == ["inputs_embeds", "attention_mask", "position_ids"]
    assert inputs[3:5] == ["past_key_values.0.key", "past_key_values.0.value"]
    outputs = {value.name for value in decoder.output}
    assert {"logits", "present.0.key", "present.1.value"} <= outputs


def test_chunked_prefill_decode_and_rewinding_equal_torch(model, runner):
    ids = list(range(3, 30))
    expected = torch_logits(model, ids)
    logits, prefix = runner.decode(runner.embed(ids[:9]), CacheState())
    np.testing.assert_allclose(logits, expected[8], atol=1e-4)
    logits, state = runner.decode(runner.embed(ids[9:20]), prefix)
    np.testing.assert_allclose(logits, expected[19], atol=1e-4)
    for at in range(20, 27):
        logits, state = runner.decode(runner.embed([ids[at]]), state)
        np.testing.assert_allclose(logits, expected[at], atol=1e-4)
    other = [*ids[:9], 40, 41, 42]
    logits, _ = runner.decode(runner.embed(other[9:]), prefix)
    np.testing.assert_allclose(logits, torch_logits(model, other)[-1], atol=1e-4)


def test_image_and_prompt_equal_torch(model, runner):
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    embeddings = runner.encode_image(pixels.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(embeddings, model.encode_image(pixels), atol=1e-5)
        image = [model.config.image_token_id] * 4
        ids = torch.tensor([[5, 6, *image, 7, 8]])
        expected = model(input_ids=ids, pixel_values=pixels).logits[0, -1].numpy()
    parts = [runner.embed([5, 6]), embeddings, runner.embed([7, 8])]
    logits, _ = runner.decode(np.concatenate(parts, axis=1), CacheState())
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_past_and_present_work_without_a_shared_buffer(model, exported):
    """The way of transformers.js: a longer cache comes back from every call."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported["fp32"][0] / "decoder_model_merged.onnx")
    names = [value.name for value in session.get_inputs()[3:]]
    past = {name: np.zeros((1, 2, 0, 16), np.float32) for name in names}
    ids = [3, 4, 5, 6, 7, 8]
    with torch.no_grad():
        embeddings = model.embed_tokens(torch.tensor([ids])).numpy()
    for start, end in ((0, 4), (4, 5), (5, 6)):
        feeds = {
            "inputs_embeds": embeddings[:, start:end],
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end)[None],
        }
        logits, *present = session.run(None, {**feeds, **past})[:5]
        by_name = zip([v.name for v in session.get_outputs()], [logits, *present], strict=True)
        outputs = dict(by_name)
        past = {n: outputs[n.replace("past_key_values", "present")] for n in names}
    assert past[names[0]].shape == (1, 2, 6, 16)
    np.testing.assert_allclose(outputs["logits"][0, 0], torch_logits(model, ids)[-1], atol=1e-4)


def test_int4_has_the_structure_that_is_fast(exported):
    folder, result = exported["int4"]
    decoder = onnx.load(folder / "decoder_model_merged.onnx").graph
    linears = [node for node in decoder.node if node.op_type == "MatMulNBits"]
    assert len(linears) == 2 * 5 + 1
    for node in linears:
        attributes = {a.name: a.i for a in node.attribute}
        assert (attributes["bits"], attributes["block_size"]) == (4, 32)
        assert attributes["accuracy_level"] == 4
    assert not [node for node in decoder.node if node.op_type == "MatMul"]
    vision = onnx.load(folder / "vision_encoder.onnx").graph
    assert sum(node.op_type == "MatMulInteger" for node in vision.node) == 2
    table = onnx.load(folder / "embed_tokens.onnx").graph
    assert "GatherBlockQuantized" in {node.op_type for node in table.node}
    assert table.initializer[0].data_type == onnx.TensorProto.UINT8
    assert any("convolution" in sentence for sentence in result.fallbacks)
    assert "com.microsoft.MatMulNBits" in result.details["runtime_operators"]


def test_fp16_halves_the_files_and_computes_as_fp32_does(model, exported, tiny_merged, tmp_path):
    runner = runner_of(exported["fp16"], tiny_merged, tmp_path)
    ids = list(range(3, 30))
    logits, _ = runner.decode(runner.embed(ids), CacheState())
    np.testing.assert_allclose(logits, torch_logits(model, ids)[-1], atol=5e-3)
    folder, result = exported["fp16"]
    decoder = onnx.load(folder / "decoder_model_merged.onnx").graph
    stored = {t.name: t.data_type for t in decoder.initializer if t.name.endswith(".weight")}
    assert stored["layers.0.mlp.down.weight"] == stored["head.weight"] == onnx.TensorProto.FLOAT16
    vision = onnx.load(folder / "vision_encoder.onnx").graph
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in vision.initializer}
    assert any("widened when a program is loaded" in sentence for sentence in result.fallbacks)


def test_int4_holds_the_weights_of_the_plan(model, exported):
    """The codes in the file are those that any other runtime gets."""
    plan = plan_decoder(model, preset_named("int4"), None, 32, lambda _: None)
    decoder = onnx.load(exported["int4"][0] / "decoder_model_merged.onnx").graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in decoder.initializer}
    for unit, names in (("gate_up", ("mlp.gate", "mlp.up")), ("down", ("mlp.down",))):
        pairs = np.concatenate([stored[f"layers.1.{name}.weight_int4"] for name in names])
        codes = np.stack([pairs & 15, pairs >> 4], -1).reshape(len(pairs), -1).astype(int) - 8
        np.testing.assert_array_equal(codes, plan.int4[f"layers.1.{unit}"].codes)
        scales = np.concatenate([stored[f"layers.1.{name}.scales"] for name in names])
        np.testing.assert_array_equal(
            scales.astype(np.float32), plan.int4[f"layers.1.{unit}"].scales
        )


def test_a_table_that_is_the_head_is_stored_once(tiny_merged, tmp_path, monkeypatch):
    """The decoder reads the table's file, and computes with the same weights."""
    monkeypatch.setattr(graph_writer, "LEAST_EXTERNAL", 512)  # as if the table were large
    model = load_model(tiny_merged)
    language_model = model.language_model
    language_model.lm_head.weight = language_model.model.embed_tokens.weight
    result = OnnxTarget().write(model, preset_named("int4"), tmp_path, LIMITS, lambda _: None)
    decoder = onnx.load(tmp_path / "decoder_model_merged.onnx", load_external_data=False).graph
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}["location"]
        for tensor in decoder.initializer
        if tensor.external_data
    }
    assert places.pop("head.weight_int4") == places.pop("head.scales") == "embed_tokens.onnx_data"
    assert set(places.values()) == {"decoder_model_merged.onnx_data"}
    plan = plan_decoder(model, preset_named("int4"), None, 32, lambda _: None)
    runner = runner_of((tmp_path, result), tiny_merged, tmp_path)
    ids = list(range(3, 30))
    np.testing.assert_allclose(runner.embed(ids)[0], plan.int4["head"].values()[ids], atol=1e-6)
    logits, _ = runner.decode(runner.embed(ids), CacheState())
    assert np.corrcoef(logits, torch_logits(model, ids)[-1])[0, 1] > 0.9


def test_int4_stays_near_fp32(model, exported, tiny_merged, tmp_path):
    runner = runner_of(exported["int4"], tiny_merged, tmp_path)
    ids = list(range(3, 30))
    logits, _ = runner.decode(runner.embed(ids), CacheState())
    assert np.corrcoef(logits, torch_logits(model, ids)[-1])[0, 1] > 0.9


def test_export_leaves_the_model_as_it_was(tiny_merged, model, exported):
    fresh = MobileVLMForConditionalGeneration.from_pretrained(tiny_merged).state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8a8", "w4a8"])
def test_a_linear_computes_what_its_stored_weight_says(precision, tmp_path):
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 96, generator=generator)
    graph = onnx_graph.Graph("one")
    x = graph.input("x", np.float32, ["n", 96])
    graph.output("linear.out", np.float32, ["n", 48])
    emit_linear(graph, x, Linear("linear", (48, 96), lambda: weight), precision, 32)
    graph.save(tmp_path / "one.onnx")
    value = torch.randn(5, 96, generator=generator)
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    result = session.run(None, {"x": value.numpy()})[0]
    if precision == "w4a8":
        weight = round_nearest(weight, 32).values()
    expected = (value @ weight.T).numpy()
    tolerance = 1e-4 if precision == "fp32" else 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(result, expected, atol=tolerance)


def test_large_weights_go_beside_the_graph(model, files, runner):
    for role in ("vision_encoder", "token_embedding", "text_decoder"):
        graph = onnx.load(files[role], load_external_data=False).graph
        beside = {t.name: t.external_data for t in graph.initializer if t.external_data}
        assert beside
        assert all(len(t.raw_data) < 4096 for t in graph.initializer)
    logits, _ = runner.decode(runner.embed([3, 4, 5]), CacheState())
    np.testing.assert_allclose(logits, torch_logits(model, [3, 4, 5])[-1], atol=1e-4)


@pytest.mark.parametrize("preset", ["fp32", "int4"])
def test_a_bundle_verifies_itself(preset, tiny_merged, golden_inputs, tmp_path):
    bundle = export_bundle(
        tiny_merged,
        target="android",
        runtime="onnx",
        preset=preset,
        out=tmp_path / "bundle",
        golden_inputs=golden_inputs,
        limits=Limits(max_context=256, max_prefill=64),
    )
    result = run_suite(bundle.folder)
    if preset == "fp32":
        result.require()
    assert result.comparisons[0].cases[0].prompt_equal
    assert OnnxRuntime.load(bundle.folder, threads=1).precision == preset


def test_files_name_no_folder_of_this_machine(exported):
    for folder, result in exported.values():
        for name in result.files.values():
            content = (folder / name).read_bytes()
            assert b".py" not in content
            assert str(Path(__file__).parents[2]).encode() not in content


def test_what_onnx_lacks_is_told(model, tmp_path):
    preset = dataclasses.replace(preset_named("fp32"), name="odd", vision="w4a8", head="w8")
    result = OnnxTarget().write(model, preset, tmp_path, LIMITS, lambda _: None)
    assert any(s.startswith("vision: w4a8 is not available") for s in result.fallbacks)
    assert any(s.startswith("head: w8 is not available") for s in result.fallbacks)


def test_wrong_group_size_is_refused(model, tmp_path):
    preset = dataclasses.replace(preset_named("int4"), group_size=48)
    with pytest.raises(HydraError, match=r"group_size.*48"):
        OnnxTarget().write(model, preset, tmp_path, LIMITS, lambda _: None)


def test_too_long_a_context_is_refused(runner):
    _, state = runner.decode(runner.embed([3] * 40), CacheState())
    with pytest.raises(HydraError, match=r"max_context.*48"):
        runner.decode(runner.embed([3] * 9), state)


def test_a_forgotten_state_is_refused(runner):
    _, first = runner.decode(runner.embed([3, 4]), CacheState())
    _, second = runner.decode(runner.embed([5, 6, 7]), first)
    runner.decode(runner.embed([8]), first)
    with pytest.raises(HydraError, match="forgotten"):
        runner.decode(runner.embed([9]), second)


def test_an_id_outside_the_table_is_refused(runner, model):
    with pytest.raises(HydraError, match="embedding"):
        runner.embed([model.config.image_token_id])


def test_pixels_of_another_size_are_refused(runner):
    with pytest.raises(HydraError, match=r"Pixels.*shape"):
        runner.encode_image(np.zeros((1, 3, 16, 16), np.float32))


def test_exchanged_and_broken_files_are_refused(files, tiny_merged, tmp_path):
    exchanged = {**files, "token_embedding": files["vision_encoder"]}
    folder = bundle_of(exchanged, tiny_merged, tmp_path / "exchanged")
    with pytest.raises(ArtifactError, match="token_embedding"):
        OnnxRuntime.load(folder)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(files["text_decoder"].read_bytes()[:5000])
    cut = bundle_of({**files, "text_decoder": broken}, tiny_merged, tmp_path / "cut")
    with pytest.raises(ArtifactError, match=r"broken\.onnx"):
        OnnxRuntime.load(cut)
