from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hydra_export.targets import target_of
from hydra_mobile.bundle.memory.footprint import MIB, Footprint
from hydra_mobile.bundle.memory.phones import CLASSES, GIB, PROCESS_BYTES, fit_on
from hydra_mobile.bundle.memory.sizes import sizes_of, vision_step
from hydra_mobile.cli.main import main
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.loading import load_model


@pytest.fixture
def run_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process; return exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hydra-mobile", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest's part that footprints read; hidden 64, 2 layers, 2 of 4 heads, 1000 words."""
    value: dict[str, Any] = {
        "runtime": "executorch",
        "preset": {"head": "fp32", "decoder": "fp32", "sensitive": None},
        "limits": {"max_context": 100, "max_prefill": 10},
        "shapes": {
            "vocab_size": 1000,
            "hidden_size": 64,
            "layers": 2,
            "kv_heads": 2,
            "head_dim": 16,
            "image_size": 32,
        },
        "sizes": {"heads": 4, "intermediate_size": 160, "vision_step": 5000},
        "details": {"attention": "custom"},
        "files": {
            "model.pte": {"role": "program", "bytes": 1_000_000},
            "tokenizer.json": {"role": "tokenizer", "bytes": 1000},
            "golden.safetensors": {"role": "golden", "bytes": 999_999},
        },
    }
    return value | changes


def footprint(manifest: dict[str, Any]) -> Footprint:
    return target_of(manifest).memory(manifest)


def test_every_part_follows_from_the_sizes() -> None:
    found = footprint(manifest())
    assert found.weights == 1_000_000  # golden vectors and tokenizer are no weights
    assert found.loading == 4 * 64 * 1000
    assert found.cache == 2 * 2 * (2 * 16) * 100 * 4
    assert found.prefill == 4 * (10 * (4 * 64 + 2 * (4 + 2 * 2) * 16 + 3 * 160) + 2 * 1000)
    assert found.picture == 32 * 32 * (4 + 24) + 2 * 5000
    assert found.runtime == 8 * MIB
    # Steps come one after the other: the peak has the largest of them, not their sum.
    assert found.peak == found.resting + found.loading
    assert found.model_peak == found.peak


def test_rows_wider_than_the_model_and_layers_without_keys_are_counted_as_they_are() -> None:
    plain = manifest()
    wide = manifest(shapes=plain["shapes"] | {"hidden_size": 64 * 3 + 4})
    wide["sizes"] = plain["sizes"] | {"hidden_size": 64, "cache_values": 2 * 2 * 16 + 64}
    one, other = footprint(plain), footprint(wide)
    assert other.loading == one.loading
    assert other.prefill - one.prefill == 4 * 10 * (64 * 2 + 4)
    assert other.cache == 100 * 4 * (2 * 2 * 16 + 64)


def test_every_square_of_a_picture_in_tiles_counts() -> None:
    one, tiled = manifest(), manifest(image={"tiles": {"texts": [""] * 5}})
    assert footprint(tiled).picture - footprint(one).picture == 4 * 32 * 32 * (4 + 24)


def test_scores_count_where_attention_writes_them_down() -> None:
    custom, manual = (
        footprint(manifest(details={"attention": build})) for build in ("custom", "manual")
    )
    assert manual.prefill - custom.prefill == 4 * 4 * 10 * 100


def test_a_raised_head_and_packed_blocks_count() -> None:
    preset = {"head": "w4a8", "decoder": "w4a8", "sensitive": "w8a8"}
    assert footprint(manifest(preset=preset)).loading == 64 * 1000
    graphs = {
        "decoder.onnx": {"role": "text_decoder", "bytes": 600_000},
        "decoder.onnx_data": {"role": "text_decoder_data", "bytes": 400_000},
    }
    onnx = footprint(manifest(runtime="onnx", preset=preset, files=graphs))
    assert onnx.weights == 1_150_000 - 1  # float rounding down
    assert onnx.model_peak > onnx.peak  # holes, which phones do not have


def test_a_bundle_of_an_earlier_version_gets_a_careful_guess() -> None:
    old = manifest()
    del old["sizes"]
    assert footprint(old).prefill > footprint(manifest()).prefill


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(ArtifactError, match="abacus"):
        footprint(manifest(runtime="abacus"))
    shapes = manifest()["shapes"]
    del shapes["kv_heads"]
    with pytest.raises(ArtifactError, match=r"`shapes`.*'kv_heads'"):
        footprint(manifest(shapes=shapes))


def test_a_phone_is_judged_at_the_peak_with_the_app() -> None:
    base = footprint(manifest())
    at_limit = dataclasses.replace(base, weights=0, holes=10**12)
    at_limit = dataclasses.replace(
        at_limit, weights=int(0.5 * 6 * GIB) - PROCESS_BYTES - at_limit.peak
    )
    assert fit_on(at_limit, 6).fits
    assert not fit_on(dataclasses.replace(at_limit, weights=at_limit.weights + 1), 6).fits
    assert [fit_on(at_limit, memory).fits for memory in CLASSES] == [False, True, True, True]


def test_coreml_is_computed_and_says_that_nobody_measured_it() -> None:
    coreml = manifest(runtime="coreml", details={})
    found = footprint(coreml)
    assert found.runtime == found.holes == 0
    assert found.weights == 1_000_000
    # Scores of 4 heads over 10 new and 100 held tokens.
    assert found.prefill - footprint(manifest()).prefill == 4 * 4 * 10 * 100
    assert "never measured" in target_of(coreml).memory_basis


def test_largest_step_of_the_vision_encoder_is_seen(tiny_merged: Path) -> None:
    model = load_model(tiny_merged)
    sizes = sizes_of(model, 32)
    assert (sizes["hidden_size"], sizes["heads"], sizes["intermediate_size"]) == (64, 4, 160)
    # Keys and values of two layers, two heads of 16 each.
    assert sizes["cache_values"] == 2 * 2 * 2 * 16
    # The patches of 8 pixels: pixels [3, 32, 32] in, features [32, 4, 4] out.
    assert sizes["vision_step"] >= 4 * (3 * 32 * 32 + 32 * 4 * 4)
    weights = sum(p.numel() * 4 for p in model.vision_tower.parameters())
    assert vision_step(model, 32) < weights + 4 * 4 * 3 * 32 * 32
    assert not torch.is_inference_mode_enabled()


def test_export_writes_it_and_the_verb_reads_it(fp32_bundle: Path, run_verb: Any) -> None:
    written = json.loads((fp32_bundle / "manifest.json").read_text())
    assert written["footprint"]["peak"] == footprint(written).peak
    assert written["footprint"]["fits_gib"] == list(CLASSES)
    code, out, err = run_verb("estimate", fp32_bundle, "--phone-memory", 0.25)
    assert code == 0, err
    assert re.search(r"  4 GiB .* fits\n", out)
    assert re.search(r"  0\.25 GiB .* does NOT fit\n", out)
    assert "Assumed, not measured" in out
    assert "within 15%" in out
    code, out, err = run_verb("estimate", fp32_bundle, "--phone-memory", 0.25, "--json")
    found = json.loads(out)["result"]
    assert found["asked"]["fits"] is False
    assert found["bytes"]["peak"] == written["footprint"]["peak"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing is given"),
        (["base=tiny", "--bundle", "b", "--device-memory", 4], "a bundle and a configuration"),
        (["--bundle", "b", "--device-memory", 4, "--gpus", 1], "belong to training"),
        (["base=tiny", "--gpus", 0], "--gpus"),
        (["base=tiny", "--gpus", 1, "--gpu-memory", 8, "--device-memory", 4], "belongs to"),
        (["--bundle", "nowhere", "--device-memory", 4], "nowhere"),
    ],
)
def test_exactly_one_thing_is_estimated(run_verb: Any, arguments: list[Any], message: str) -> None:
    code, _, err = run_verb("estimate", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
