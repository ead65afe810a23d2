"""Verbs that take a bundle take those of every family: nothing behind them knows Llama alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_fixtures import Exported, Trained
from PIL import Image
from tiny_families import QUICK, SQUARE, TILED, every_family, every_pair, group

import hydra_mobile as hm
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.models.loading import load_model
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.answering import line_of
from hydra_mobile.runtimes.generation import Generator

Inputs = list[tuple[Image.Image, str]]
Run = Callable[..., tuple[int, str, str]]
RUNTIMES = ("onnx", "executorch")


@pytest.fixture(params=every_pair(RUNTIMES), ids="-".join)
def asked(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture
def base(
    asked: tuple[str, str],
    family_base: Callable[[str], Path],
    family_trained: Callable[[str], Trained],
) -> Path:
    return family_base(asked[0]) if asked == QUICK else family_trained(asked[0]).merged


@pytest.fixture
def bundle(asked: tuple[str, str], checked_bundle: Exported) -> Bundle:
    return Bundle.open(checked_bundle(*asked))


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


@pytest.mark.parametrize("family", every_family([*SQUARE, *TILED]))
def test_evaluate_says_what_python_says(
    family: str,
    family_trained: Callable[[str], Trained],
    trained_bundle: Exported,
    golden_inputs: Inputs,
    run_verb: Run,
    tmp_path: Path,
) -> None:
    lines = []
    for index, (image, question) in enumerate(golden_inputs[:2]):
        image.save(tmp_path / f"{index}.png")
        lines.append({"question": question, "image": f"{index}.png", "answer": "yes"})
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(map(json.dumps, lines)))
    runtimes = ("onnx",) if family in TILED else RUNTIMES
    bundles = [trained_bundle(family, runtime) for runtime in runtimes]
    report = tmp_path / "report"
    code, _, err = run_verb(
        "evaluate", *bundles, "--benchmarks", own, "--data", tmp_path, "--out", report
    )
    assert code == 0, err
    generator = Generator(runtime_class("torch").load(family_trained(family).merged))
    wanted = [
        line_of(generator.answer(question, lambda i=image: i, max_new_tokens=64), "")
        for image, question in golden_inputs[:2]
    ]
    found = sorted(report.glob("answers/*/*/answers.jsonl"))
    assert len(found) == len(runtimes)
    for file in found:
        rows = sorted(map(json.loads, file.open()), key=lambda row: row["key"])
        for row, own in zip(rows, wanted, strict=True):
            # Says something of an answer without a word too, which some tiny families give.
            assert row["margin"] == pytest.approx(own.margin, abs=1e-3)
            # A bundle's context may be full before the model's own.
            full = row["ended"] == "context"
            assert row["ids"] == list(own.ids[: len(row["ids"])] if full else own.ids)
            assert full or row["ended"] == own.ended
            assert row["ids"] or not full


@pytest.mark.parametrize(
    ("family", "runtime"),
    [
        # One decoder by hand, one traced.
        pytest.param("smolvlm", "onnx", marks=group("smolvlm")),
        pytest.param("qwen3_vl", "executorch", marks=group("qwen3_vl")),
    ],
)
@pytest.mark.slow
def test_bench_measures(family: str, runtime: str, trained_bundle: Exported, run_verb: Run) -> None:
    few = ("--new-tokens", "4", "--repeats", "1", "--rounds", "1")
    code, out, err = run_verb("bench", trained_bundle(family, runtime), *few, "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["rows"]
