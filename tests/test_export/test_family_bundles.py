"""Bundles of families beside MobileVLM: equal to transformers' own forward, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from bundle_fixtures import Exported, Trained
from PIL import Image
from target_bundles import export
from tiny_families import SIGLIP, SQUARE, TEXT, TILED, TINY, group
from torch import nn

import hydra_mobile as hm
from hydra_export.graphs.activations import spell_out_tanh_gelu
from hydra_export.graphs.decoder import TextDecoder
from hydra_export.graphs.stateless_decoder import StatelessDecoder
from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.targets import Limits
from hydra_export.targets.onnx.decoder import decoder_graph
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.families import FAMILIES
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import CacheState

Inputs = list[tuple[Image.Image, str]]


@pytest.fixture
def base(smolvlm_base: Path) -> Path:
    return smolvlm_base


def check_bundle(
    base: Path, folder: Path, picture: Path, inputs: Inputs, preset: str, bound: float
) -> None:
    """Verify a bundle, and ask both the bundle and the model that it was made from."""
    bundle = Bundle.open(folder)
    result = hm.verify(folder)
    whole = next(p for c in result.comparisons for p in c.parts if p.part == "whole")
    if preset == "fp32":
        result.require()
    else:
        # Random weights lose more to 4 bits than the tolerance allows trained ones.
        assert whole.cosine is not None
        assert whole.cosine > 0.9
    assert whole.max_abs is not None
    assert whole.max_abs < bound
    image = ImagePreprocessing.from_dict(bundle.manifest["image"], "")
    # What stands around the picture is with its tiles, where it has some.
    template = bundle.manifest["template"]
    assert image.tiles or template.get("image_prefix") or template.get("image_suffix")
    assert image == load_processor(base).image
    if preset == "fp32":
        inputs[0][0].save(picture)
        asked = hm.load(folder).ask(picture, inputs[0][1], max_new_tokens=8)
        assert asked.ids == hm.load(base).ask(picture, inputs[0][1], max_new_tokens=8).ids
        check_ways(base, bundle, inputs[0])


def check_ways(base: Path, bundle: Bundle, asked: tuple[Image.Image, str]) -> None:
    """One call, the picture first, row by row, and another question: all as transformers says."""
    model, processor = load_model(base), load_processor(base)
    runtime = runtime_class(bundle.runtime).load(bundle)
    pixels = processor.preprocess(asked[0])[None]
    image = processor.image_ids

    def own(question: str) -> Any:
        prompt = processor.prompt(question)
        ids = torch.tensor([[*prompt.before, *image, *prompt.after]])
        with torch.no_grad():
            logits = model.reference_logits(ids, torch.from_numpy(pixels))
        assert logits is not None
        return logits[0].numpy()

    prompt = processor.prompt(asked[1])
    picture = runtime.picture_rows(runtime.encode_image(pixels))
    first = np.concatenate([runtime.embed(prompt.before), picture], axis=1)
    whole = np.concatenate([first, runtime.embed(prompt.after)], axis=1)
    logits, _ = runtime.decode(whole, CacheState())
    np.testing.assert_allclose(logits, own(asked[1]), atol=1e-4)
    _, kept = runtime.decode(first, CacheState())
    logits, _ = runtime.decode(runtime.embed(prompt.after), kept)
    np.testing.assert_allclose(logits, own(asked[1]), atol=1e-4)
    _, kept = runtime.decode(first, CacheState())
    runtime.decode(runtime.embed(prompt.after), kept)
    logits, _ = runtime.decode(runtime.embed(processor.prompt("yes?").after), kept)
    np.testing.assert_allclose(logits, own("yes?"), atol=1e-4)
    if model.layout is not None and model.layout.marks:
        return
    state = CacheState()
    for at in range(whole.shape[1]):
        logits, state = runtime.decode(whole[:, at : at + 1], state)
    np.testing.assert_allclose(logits, own(asked[1]), atol=1e-4)


def test_onnx_answers_as_transformers_does(
    base: Path, family_bundle: Exported, golden_inputs: Inputs, tmp_path: Path
) -> None:
    bundle = family_bundle("smolvlm", "onnx")
    check_bundle(base, bundle, tmp_path / "picture.png", golden_inputs, "fp32", 1e-4)


def _every_program() -> list[Any]:
    """Return family, runtime and preset; programs with tiles are those without, called again."""
    presets = ("fp32", "int4")
    return [
        pytest.param(family, runtime, preset, marks=group(family))
        for family in [*SQUARE, *TILED]
        for runtime in ("onnx", "executorch")
        for preset in presets
        if family in SQUARE or (runtime, preset) == ("onnx", "fp32")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "runtime", "preset"), _every_program())
def test_programs_of_a_trained_family_answer_as_transformers_does(
    family: str,
    runtime: str,
    preset: str,
    family_trained: Callable[[str], Trained],
    trained_bundle: Exported,
    golden_inputs: Inputs,
    tmp_path: Path,
) -> None:
    bundle = trained_bundle(family, runtime, preset)
    merged, picture = family_trained(family).merged, tmp_path / "picture.png"
    bound = 1e-4 if preset == "fp32" else 1.0
    check_bundle(merged, bundle, picture, golden_inputs, preset, bound)


@pytest.mark.slow
def test_a_prefill_that_cuts_a_two_way_picture_is_refused(
    golden_inputs: Inputs, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    TINY["gemma3"](tmp_path / "base")
    with pytest.raises(HydraError, match="max_prefill"):
        export(
            "executorch",
            "fp32",
            tmp_path / "base",
            tmp_path / "bundle",
            golden_inputs[:1],
            limits=Limits(max_context=80, max_prefill=8),
        )


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ("WithoutPositions", "vision tower or connector"),
        ("WithUntrainedConnector", "vision tower or connector"),
        ("WithOtherRotary", "text model"),
    ],
)
def test_a_family_that_reads_its_class_wrongly_is_caught_at_export(
    base: Path,
    golden_inputs: Inputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    part: str,
) -> None:
    monkeypatch.setitem(FAMILIES, "smolvlm", f"wrong_families:{wrong}")
    with pytest.raises(ArtifactError, match=part):
        export("onnx", "fp32", base, tmp_path / "bundle", golden_inputs[:1])
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "wrong", "part"),
    [
        ("qwen3_vl", "WithoutDeepStack", "deep-stack"),
        ("qwen3_vl", "WithFlatPositions", "rotary axes"),
        ("gemma3", "WithoutWindow", "sliding window"),
        ("gemma3", "WithOneWayPicture", "mask"),
    ],
)
def test_what_other_exporters_lose_is_caught_at_export(
    golden_inputs: Inputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    wrong: str,
    part: str,
) -> None:
    (tmp_path / "base").mkdir()
    TINY[family](tmp_path / "base")
    monkeypatch.setitem(FAMILIES, family, f"wrong_families:{wrong}")
    limits = Limits(max_context=80, max_prefill=48)
    with pytest.raises(ArtifactError, match=part):
        export("onnx", "fp32", tmp_path / "base", tmp_path / "b", golden_inputs[:1], limits=limits)
    assert not (tmp_path / "b").exists()


def _text(kind: str, **changes: Any) -> Any:
    config = getattr(transformers, f"{kind}Config")(**{**TEXT, "vocab_size": 64, **changes})
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    ("model", "lost"),
    [
        (lambda: _text("Qwen3", head_dim=16), "q_norm"),
        (lambda: _text("Gemma2", head_dim=16), "feedforward_layernorm"),
        (
            lambda: _text("Qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1),
            "sliding_attention",
        ),
        (
            lambda: _text(
                "Llama",
                rope_parameters={
                    "rope_type": "default",
                    "rope_theta": 1e4,
                    "mrope_section": [2, 3, 3],
                },
            ),
            "mrope_section",
        ),
    ],
)
def test_decoders_written_by_hand_refuse_what_they_would_leave_out(model: Any, lost: str) -> None:
    text = model()
    for build in (
        lambda: TextDecoder(text, 16, "manual"),
        lambda: StatelessDecoder(text, 16, 4),
        lambda: decoder_graph(text, QuantizationPlan({}), 16),
    ):
        with pytest.raises(HydraError, match=lost):
            build()


def test_the_spelled_out_gelu_is_the_same_function() -> None:
    config = transformers.SiglipVisionConfig(**{**SIGLIP, "num_hidden_layers": 2})
    tower = transformers.SiglipVisionModel(config).eval()
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = tower(pixels).last_hidden_state
        # One in each layer, and one in the pooling head.
        assert spell_out_tanh_gelu(tower) == 3
        after = tower(pixels).last_hidden_state
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert spell_out_tanh_gelu(nn.Sequential(nn.GELU())) == 0


def test_a_chat_template_that_changes_the_question_is_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "chat_template.jinja").read_text()
    inside = "{{line['text']}}"
    assert inside in text
    (folder / "chat_template.jinja").write_text(text.replace(inside, "{{line['text'] | upper}}"))
    with pytest.raises(ArtifactError, match="chat_template"):
        load_processor(folder)


def test_pixels_that_cannot_be_expressed_are_refused(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"resample": 1', '"resample": 4'))
    with pytest.raises(ArtifactError, match="resample 4"):
        load_processor(folder)


def test_the_parts_of_a_merged_folder_are_those_of_its_class(base: Path) -> None:
    assert type(load_model(base).whole) is transformers.SmolVLMForConditionalGeneration
