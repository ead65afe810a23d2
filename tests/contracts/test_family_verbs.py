"""Verbs that take a bundle take those of every family: nothing behind them knows Llama alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_fixtures import Exported
from PIL import Image
from tiny_families import BASES

import hydra_mobile as hm
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.models.loading import load_model

Inputs = list[tuple[Image.Image, str]]
Run = Callable[..., tuple[int, str, str]]
RUNTIMES = ("onnx", "executorch")
FAMILIES = [name for name in BASES if name != "mobilevlm"]


def _every_bundle() -> list[object]:
    """Return families and runtimes; all but one are for `make test-slow`."""
    quick = ("smolvlm", "onnx")
    pairs = [(family, runtime) for family in FAMILIES for runtime in RUNTIMES]
    slow = [pytest.param(pair, marks=pytest.mark.slow) for pair in pairs if pair != quick]
    return [quick, *slow]


@pytest.fixture(params=_every_bundle(), ids="-".join)
def asked(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def base(asked: tuple[str, str], family_base: Callable[[str], Path]) -> Path:
    return family_base(asked[0])


@pytest.fixture
def bundle(asked: tuple[str, str], family_bundle: Exported) -> Bundle:
    return Bundle.open(family_bundle(*asked))


@pytest.fixture
def picture(golden_inputs: Inputs, tmp_path: Path) -> Path:
    golden_inputs[0][0].save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_estimate_counts_the_model_and_not_the_width_of_rows(bundle: Bundle, base: Path) -> None:
    model = load_model(base)
    text = model.config.text_config
    sizes = bundle.manifest["sizes"]
    assert sizes["hidden_size"] == text.hidden_size
    found = hm.estimate(bundle).footprint
    assert found.cache == 4 * 96 * sizes["cache_values"]
    kept = sum(heads * size for heads, size in model.row_text.shapes().values())
    assert sizes["cache_values"] == kept
    # The head is the largest weight; a deep stack's features are none of it.
    assert found.loading == 4 * text.vocab_size * text.hidden_size


def test_chat_and_verify_say_what_python_says(
    bundle: Bundle, base: Path, picture: Path, golden_inputs: Inputs, run_verb: Run
) -> None:
    question = golden_inputs[0][1]
    code, out, err = run_verb(
        "chat", bundle.folder, "--image", picture, "--ask", question, "--new-tokens", "6", "--json"
    )
    assert code == 0, err
    (answer,) = json.loads(out)["result"]["answers"]
    assert answer["answer"] == hm.load(base).ask(picture, question, max_new_tokens=6).text
    code, _, err = run_verb("verify", bundle.folder, "--json")
    assert code == 0, err


@pytest.mark.slow
def test_estimate_bench_and_evaluate_run(
    bundle: Bundle, base: Path, golden_inputs: Inputs, run_verb: Run, tmp_path: Path
) -> None:
    code, _, err = run_verb("estimate", bundle.folder, "--json")
    assert code == 0, err
    code, _, err = run_verb(
        "bench", bundle.folder, *("--new-tokens", "4", "--repeats", "1", "--rounds", "1"), "--json"
    )
    assert code == 0, err
    lines = []
    for index, (image, question) in enumerate(golden_inputs[:2]):
        image.save(tmp_path / f"{index}.png")
        lines.append({"question": question, "image": f"{index}.png", "answer": "yes"})
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(map(json.dumps, lines)))
    report = tmp_path / "report"
    code, _, err = run_verb(
        "evaluate", base, bundle.folder, "--benchmarks", own, "--data", tmp_path, "--out", report
    )
    assert code == 0, err
    found = [
        [(row["key"], row["ids"]) for row in map(json.loads, file.open())]
        for file in sorted(report.glob("answers/*/*/answers.jsonl"))
    ]
    assert len(found) == 2
    assert len(found[0]) == 2
    assert sorted(found[0]) == sorted(found[1])
