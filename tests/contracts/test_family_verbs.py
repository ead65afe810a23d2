"""Verbs that take a bundle take those of every family: nothing behind them knows Llama alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from target_bundles import export
from tiny_families import TINY, tiled

import hydra_mobile as hm
from hydra_export.targets import Limits
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.vision_language import VisionLanguageModel

Inputs = list[tuple[Image.Image, str]]


def _every_family() -> list[object]:
    """Return the families, two with tiles; all but one are for `make test-slow`."""
    names = [name for name in TINY if name != "mobilevlm"]
    slow = [pytest.param(n, marks=pytest.mark.slow) for n in names if n != "smolvlm"]
    tiles = [pytest.param(n, marks=pytest.mark.slow) for n in ("smolvlm-tiles", "internvl-tiles")]
    return ["smolvlm", *slow, *tiles]


@pytest.fixture(scope="module", params=_every_family())
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, _, tiles = request.param.partition("-")
    made = tmp_path_factory.mktemp(request.param) / "base"
    made.mkdir()
    if tiles:
        tiled(TINY[name], made)
    else:
        TINY[name](made)
    return made


@pytest.fixture(scope="module")
def model(base: Path) -> VisionLanguageModel:
    return load_model(base)


@pytest.fixture(scope="module")
def bundle(base: Path, golden_inputs: Inputs) -> Bundle:
    limits = Limits(max_context=96, max_prefill=48)
    return export("onnx", "fp32", base, base.parent / "bundle", golden_inputs[:1], limits=limits)


def test_estimate_counts_the_model_and_not_the_width_of_rows(
    bundle: Bundle, model: VisionLanguageModel
) -> None:
    text = model.config.text_config
    sizes = bundle.manifest["sizes"]
    assert sizes["hidden_size"] == text.hidden_size
    found = hm.estimate(bundle).footprint
    assert found.cache == 4 * 96 * sizes["cache_values"]
    kept = sum(heads * size for heads, size in model.row_text.shapes().values())
    assert sizes["cache_values"] == kept
    # The head is the largest weight; a deep stack's features are none of it.
    assert found.loading == 4 * text.vocab_size * text.hidden_size


@pytest.mark.slow
def test_evaluate_gives_the_answers_of_the_model(
    base: Path, bundle: Bundle, golden_inputs: Inputs, tmp_path: Path
) -> None:
    lines = []
    for index, (picture, question) in enumerate(golden_inputs[:2]):
        picture.save(tmp_path / f"{index}.png")
        lines.append({"question": question, "image": f"{index}.png", "answer": "yes"})
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "report"
    hm.evaluate([base, bundle.folder], str(own), data=tmp_path, out=out, log=lambda line: None)
    found = [
        [(row["key"], row["ids"]) for row in map(json.loads, file.open())]
        for file in sorted(out.glob("answers/*/*/answers.jsonl"))
    ]
    assert len(found) == 2
    assert len(found[0]) == 2
    assert sorted(found[0]) == sorted(found[1])


@pytest.mark.slow
def test_bench_measures_a_bundle(bundle: Bundle) -> None:
    found = hm.bench(
        bundle.folder, new_tokens=4, repeats=1, warmup=0, rounds=1, log=lambda line: None
    )
    assert len(found.models) == 1
