from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from manifests import edited_manifest

from hydra_export.graphs.decoder import TextDecoder
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.loading import load_model
from hydra_mobile.runtimes.base import CacheState

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from hydra_export.graphs.pointwise import linearize_pointwise
from hydra_export.quantization.gptq import round_calibrated
from hydra_export.targets.executorch.delegation import summarize
from hydra_export.targets.executorch.program import _vision_partitioners, quantize_linears
from hydra_export.targets.executorch.target import ExecuTorchTarget
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.bundle.presets import preset_named
from hydra_mobile.runtimes.executorch import ExecuTorchRuntime

IDS = [5, 80, 17, 200, 3, 44, 260, 91, 130, 7, 61, 18, 299, 150, 33, 72, 8, 211, 64, 12, 101]


@pytest.fixture(scope="module")
def model(tiny_merged: Path) -> Any:
    return load_model(tiny_merged)


@pytest.fixture(scope="module")
def runner(fp32_bundle: Path) -> ExecuTorchRuntime:
    return ExecuTorchRuntime.load(fp32_bundle)


def eager_logits(model: Any, ids: list[int]) -> np.ndarray:
    """Logits [n, V] of every position."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].numpy()


@pytest.mark.parametrize("build", ["custom", "manual"])
def test_decoder_graph_equals_the_model(tiny_merged: Path, build: Any) -> None:
    model = load_model(tiny_merged)
    expected = eager_logits(model, IDS)
    decoder = TextDecoder(model.language_model, 32, build).eval()
    table = model.embed_tokens(torch.tensor([IDS]))
    with torch.no_grad():
        first = decoder(table[:, :13], torch.tensor([0]))
        # A rewind: the second call overwrites what a first attempt left behind.
        decoder(table[:, 2:10], torch.tensor([13]))
        second = decoder(table[:, 13:], torch.tensor([13]))
    np.testing.assert_allclose(first[0, 0], expected[12], atol=1e-5)
    np.testing.assert_allclose(second[0, 0], expected[-1], atol=1e-5)
    # Weights became views of the fused ones, and the model goes on working.
    np.testing.assert_array_equal(eager_logits(model, IDS), expected)
    attention = model.language_model.model.layers[0].self_attn
    fused = decoder.layers[0].qkv.weight
    assert attention.q_proj.weight.data_ptr() == fused.data_ptr()


def test_vision_encoder_equals_the_model(model: Any, runner: ExecuTorchRuntime) -> None:
    pixels = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = model.encode_image(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(runner.encode_image(pixels), expected, atol=1e-4)
    # Strides are handled: the same picture as a view of another layout.
    view = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(runner.encode_image(view), expected, atol=1e-4)


def test_embedding_between_decoder_calls_leaves_the_cache_alone(
    model: Any, runner: ExecuTorchRuntime
) -> None:
    """One memory arena for all methods would corrupt the cache here, silently."""
    expected = eager_logits(model, IDS)
    state = CacheState()
    for position, token in enumerate(IDS):
        runner.embed(list(range(100, 116)))
        runner.encode_image(np.ones((1, 3, 32, 32), dtype=np.float32))
        logits, state = runner.decode(runner.embed([token]), state)
        np.testing.assert_allclose(logits, expected[position], atol=1e-4)
    assert state.length == len(IDS)


def test_long_prefill_goes_in_chunks_and_a_state_rewinds(
    model: Any, runner: ExecuTorchRuntime
) -> None:
    ids = (IDS * 3)[:50]  # max_prefill is 16
    expected = eager_logits(model, ids)
    logits, state = runner.decode(runner.embed(ids[:40]), CacheState())
    np.testing.assert_allclose(logits, expected[39], atol=1e-4)
    runner.decode(runner.embed(IDS[:9]), state)
    logits, state = runner.decode(runner.embed(ids[40:]), state)
    np.testing.assert_allclose(logits, expected[-1], atol=1e-4)
    assert state.length == 50


def test_too_long_is_an_error_and_not_a_crash(runner: ExecuTorchRuntime) -> None:
    embeddings = runner.embed(IDS * 4)
    assert embeddings.shape == (1, 84, 64)
    with pytest.raises(HydraError, match=r"0 tokens.* 84 "):
        runner.decode(embeddings, CacheState())
    _, state = runner.decode(embeddings[:, :80], CacheState())
    with pytest.raises(HydraError, match=r"max_context.*80"):
        runner.decode(embeddings[:, :1], state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.embed([1, 100_000]), r"Token ids \[100000\] lie outside"),
        (lambda r: r.embed([-1]), "lie outside"),
        (lambda r: r.encode_image(np.zeros((1, 3, 16, 16), np.float32)), "Pixels have shape"),
        (lambda r: r.decode(np.zeros((1, 0, 64), np.float32), CacheState()), "Embeddings have"),
        (lambda r: r.decode(np.zeros((1, 2, 63), np.float32), CacheState()), "Embeddings have"),
    ],
)
def test_wrong_input_is_an_error_and_not_a_crash(
    runner: ExecuTorchRuntime, call: Callable[[ExecuTorchRuntime], object], message: str
) -> None:
    with pytest.raises(HydraError, match=message):
        call(runner)


def test_threads_are_set_and_recorded(fp32_bundle: Path, model: Any) -> None:
    runner = ExecuTorchRuntime.load(fp32_bundle, threads=1)
    assert runner.threads == 1
    assert runner.load_seconds > 0
    logits, _ = runner.decode(runner.embed(IDS[:3]), CacheState())
    np.testing.assert_allclose(logits, eager_logits(model, IDS[:3])[-1], atol=1e-4)


def test_refuses_a_bundle_of_another_runtime(copied: Callable[[], Path]) -> None:
    folder = copied()
    with edited_manifest(folder) as manifest:
        manifest["runtime"] = "onnx"
    with pytest.raises(ArtifactError, match=r"`onnx`.*`executorch`"):
        ExecuTorchRuntime.load(folder)


def test_manifest_says_what_the_program_needs(fp32_bundle: Path) -> None:
    details = Bundle.open(fp32_bundle).manifest["details"]
    assert details["attention"] == "custom"
    assert "llama::custom_sdpa.out" in details["required_ops"]
    decoder = details["delegation"]["text_decoder"]
    assert decoder["nodes_delegated"] < decoder["nodes"]
    assert decoder["outside"]["custom_sdpa.default"] == 2
    assert decoder["share_of_multiply_accumulates"] > 0.8
    # Attention over the cache runs in the fused kernel, which is as fast as a delegate.
    assert decoder["fast_share_of_multiply_accumulates"] == 1.0
    assert decoder["nodes_fused"] == 3 * 2
    assert all(entry["multiply_accumulates"] == 0 for entry in decoder["most_expensive_off_path"])
    assert Bundle.open(fp32_bundle).manifest["fallbacks"] == []


@pytest.mark.slow  # another export
def test_manifest_of_4_bits_says_what_fell_back(fp32_bundle: Path, int4_bundle: Path) -> None:
    quantized = Bundle.open(int4_bundle).manifest
    assert "quantized_decomposed::embedding_4bit.out" in quantized["details"]["required_ops"]
    assert len(quantized["fallbacks"]) == 1
    assert "1 convolutions" in quantized["fallbacks"][0]
    assert Bundle.open(int4_bundle).size_bytes < 0.6 * Bundle.open(fp32_bundle).size_bytes


@pytest.mark.slow
def test_int4_is_close_to_the_quantized_model(int4_bundle: Path, model: Any) -> None:
    runner = ExecuTorchRuntime.load(int4_bundle)
    logits, _ = runner.decode(runner.embed(IDS), CacheState())
    expected = eager_logits(model, IDS)[-1]
    cosine = logits @ expected / (np.linalg.norm(logits) * np.linalg.norm(expected))
    # Random weights amplify the loss of precision; trained ones are far closer.
    assert 0.85 < cosine < 0.99999


def test_a_linear_that_groups_do_not_divide_falls_back_by_name() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Linear(8, 8))
    fallbacks = quantize_linears(module, {"0", "1"}, "w4a8", 32, "decoder")
    assert len(fallbacks) == 1
    assert "decoder: 1 has 8 inputs" in fallbacks[0]
    assert quantize_linears(module, {"0"}, "fp32", 32, "decoder") == []


def test_pointwise_convolutions_become_the_same_linears() -> None:
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Conv2d(8, 4, 1), torch.nn.ReLU6())
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        inner,
        torch.nn.Conv2d(4, 4, 1, groups=4),
        torch.nn.Conv2d(4, 6, 1, stride=2, bias=False),
        torch.nn.Conv2d(6, 5, 1, bias=False),
    )
    x = torch.randn(2, 3, 6, 6)
    expected = module(x)
    assert linearize_pointwise(module) == 2
    linears = [m for m in module.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [(8, 4), (6, 5)]
    torch.testing.assert_close(module(x), expected)


@pytest.mark.slow
def test_a_convolutional_tower_has_8_bit_weights_in_one_delegated_method() -> None:
    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 64, 3, padding=1)
            self.expand = torch.nn.Conv2d(64, 256, 1)
            self.project = torch.nn.Conv2d(256, 64, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.project(torch.nn.functional.relu6(self.expand(self.stem(x))))

    torch.manual_seed(0)
    tower, x = Tower().requires_grad_(False), torch.randn(1, 3, 16, 16)
    expected = tower(x)
    linearize_pointwise(tower)
    quantize_linears(tower, {"expand.linear", "project.linear"}, "w8a8", 32, "tower")
    program = to_edge_transform_and_lower(
        {"vision_encoder": torch.export.export(tower, (x,), strict=False)},
        partitioner={"vision_encoder": _vision_partitioners(tower)},
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )
    shares = summarize(program.exported_program("vision_encoder").graph_module)
    assert shares["share_of_multiply_accumulates"] == 1.0
    emitted = program.to_executorch().buffer
    weights = 64 * 27 * 4 + 2 * 64 * 256
    assert weights < len(emitted) < weights + 30_000
    from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

    found = _load_for_executorch_from_buffer(emitted).run_method("vision_encoder", (x,))[0]
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    assert 0.999 < cosine < 0.9999999


def test_codes_that_are_rounded_already_are_taken_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 8, bias=False))
    x = torch.randn(90, 8, generator=generator) @ torch.randn(8, 64, generator=generator)
    rounded = round_calibrated(module[0].weight.detach(), x.T @ x, 32)
    nearest = round_calibrated(module[0].weight.detach(), torch.eye(64), 32)
    quantize_linears(module, {"0"}, "w4a8", 32, "decoder", {"0": rounded})
    assert torch.equal(module[0].weight.dequantize(), rounded.values())
    assert not torch.equal(rounded.values(), nearest.values())


@pytest.mark.slow  # another export: 23 s
def test_fp16_computes_as_fp32_does_from_half_the_weights(
    tiny_merged: Path, fp32_bundle: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_merged)
    expected = eager_logits(model, IDS)[-1]
    result = ExecuTorchTarget().write(
        model, preset_named("fp16"), tmp_path, Limits(80, 32), lambda _: None
    )
    manifest = Bundle.open(fp32_bundle).manifest
    whole = manifest["files"]["model.pte"]["bytes"]
    assert (tmp_path / result.files["program"]).stat().st_size < 0.75 * whole
    decoder = result.details["delegation"]["text_decoder"]
    assert decoder["share_of_multiply_accumulates"] > 0.8
    from executorch.extension.pybindings.portable_lib import _load_for_executorch

    program = str(tmp_path / result.files["program"])
    embed = _load_for_executorch(program).run_method("token_embedding", (torch.tensor([IDS]),))[0]
    logits = _load_for_executorch(program).run_method(
        "text_decoder", (embed.clone(), torch.tensor([0]))
    )[0]
    np.testing.assert_allclose(logits[0, 0].numpy(), expected, atol=2e-2)
