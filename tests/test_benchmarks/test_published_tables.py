"""Benchmarks published as tables: the hub's parquet beside VLMEvalKit's tsv, prompts, shares."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from benchmark_tree import BUILDERS, PICTURES
from made_tables import OPTIONS, base64_of

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.shared.tab_separated import write_rows
from hydra_mobile.core.errors import DataError

LETTER = "\nAnswer with the option's letter from the given choices directly."
SHORT = "\nAnswer the question using a single word or phrase."
LETTERED = "\nA. a bus\nB. a tram\nC. a bicycle\nD. a boat"


def picture(number: int = 0) -> dict[str, Any]:
    return {"bytes": base64.b64decode(base64_of(PICTURES[0], number)), "path": None}


def parquet(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    (folder / "data").mkdir(parents=True)
    write_table(pyarrow.Table.from_pylist(list(rows)), folder / "data" / name)
    return folder


def one(name: str, folder: Path, protocol: str = "") -> tuple[Benchmark, Sample]:
    benchmark = Benchmark.open(name, folder, protocol)
    sample, *_ = benchmark.samples()
    assert sample.image is None or sample.image.open().size == PICTURES[0].size
    return benchmark, sample


ALTERNATIVES = "Options: A: a bus, B: a tram, C: a bicycle, D: a boat"
CHOICES = list(OPTIONS.values())


@pytest.mark.parametrize(
    ("name", "file", "row", "prompt", "answer"),
    [
        (
            "mmstar",
            "val-00000-of-00001.parquet",
            {"index": 0, "question": f"Which?\n{ALTERNATIVES}", "answer": "B", "category": "math"},
            f"Which?\n{ALTERNATIVES}{LETTER}",
            "B",
        ),
        (
            "ai2d",
            "test-00000-of-00001.parquet",
            {"question": "Which?", "options": CHOICES, "answer": "2"},
            f"Which?{LETTERED}{LETTER}",
            "C",
        ),
        (
            "chartqa",
            "test-00000-of-00001.parquet",
            {"type": "human_test", "question": "How many?", "answer": "14"},
            "How many?\nAnswer the question with a single word.",
            "14",
        ),
        (
            "docvqa",
            "validation-00000-of-00001.parquet",
            {"questionId": "7", "question": "Which page?", "answers": ["one", "1"]},
            f"Which page?{SHORT}",
            "one",
        ),
        (
            "infovqa",
            "validation-00000-of-00001.parquet",
            {"questionId": "7", "question": "How much?", "answers": ["5%"]},
            f"How much?{SHORT}",
            "5%",
        ),
        (
            "ocrbench",
            "test-00000-of-00001.parquet",
            {"dataset": "HME100k", "question": "Read it.", "question_type": "x", "answer": ["a+b"]},
            "Read it.",
            "a+b",
        ),
        (
            "realworldqa",
            "test-00000-of-00001.parquet",
            {"question": "Which?\n\nA. left\nB. right\nOnly the letter.", "answer": "B"},
            "Which?\n\nA. left\nB. right\nOnly the letter.",
            "B",
        ),
        (
            "realworldqa",
            "test-00000-of-00001.parquet",
            {"question": "How many? A single word.", "answer": "3"},
            "How many? A single word.",
            "3",
        ),
        (
            "mmmu",
            "validation-00000-of-00001.parquet",
            {"id": "validation_Art_1", "question": "<image 1> Which?", "options": str(CHOICES),
             "answer": "D", "question_type": "multiple-choice"},
            f"<image 1> Which?{LETTERED}\n\n{LETTER.strip()}",
            "D",
        ),
        (
            "vizwiz",
            "val-00000-of-00001.parquet",
            {"question_id": "v1", "question": "what is THIS?", "answers": ["a can"] * 10},
            "What is this?\nWhen the provided information is insufficient, respond with "
            f"'Unanswerable'.{SHORT}",
            "a can",
        ),
        (
            "vqav2",
            "validation-00000-of-00001.parquet",
            {"question_id": 5, "question": "Red?", "answer_type": "yes/no",
             "answers": [{"answer": "yes", "answer_id": n} for n in range(10)]},
            f"Red?{SHORT}",
            "yes",
        ),
        (
            "hallusionbench",
            "image-00000-of-00001.parquet",
            {"category": "VD", "subcategory": "map", "set_id": "0", "figure_id": "1",
             "question_id": "2", "question": "Is it?", "gt_answer": "0"},
            "Is it?",
            "no",
        ),
        (
            "seedbench",
            "test-00000-of-00001.parquet",
            {"data_type": "image", "question": "Which?", "answer": "A", "question_type_id": 3,
             **{f"choice_{letter}": text for letter, text in zip("abcd", CHOICES, strict=True)}},
            f"Which?{LETTERED}{LETTER}",
            "A",
        ),
    ],
)  # fmt: skip
def test_the_hubs_parquet_is_read_and_asked_as_lmms_eval_does(
    tmp_path: Path, name: str, file: str, row: dict[str, Any], prompt: str, answer: str
) -> None:
    image: Any = [picture()] if name == "seedbench" else picture()
    column = "image_1" if name == "mmmu" else "image"
    benchmark, sample = one(name, parquet(tmp_path / name, file, row | {column: image}))
    assert sample.image is not None
    assert benchmark.prompt(sample) == prompt
    assert sample.reference == answer
    assert benchmark.is_correct(sample, answer)
    assert not benchmark.is_correct(sample, "something else entirely")


def test_vlmevalkit_asks_otherwise(tmp_path: Path) -> None:
    BUILDERS["mmstar"](tmp_path / "mmstar", PICTURES, 4)
    benchmark, sample = one("mmstar", tmp_path, "vlmevalkit")
    assert benchmark.prompt(sample) == (
        f"Question: What is in picture 0?\nOptions:{LETTERED}\n"
        "Please select the correct answer from the options above. \n"
    )
    assert benchmark.protocol_facts()["files"] == {"MMStar.tsv": 4}


def test_what_models_cannot_be_asked_is_left_out(tmp_path: Path) -> None:
    row = {"question": "Which?", "options": str(CHOICES), "answer": "A"}
    two = {"image_1": picture(1), "image_2": picture(2)}
    folder = parquet(
        tmp_path / "mmmu",
        "validation-00000-of-00001.parquet",
        row | {"id": "validation_Art_1", "image_1": picture(1), "image_2": None},
        row | {"id": "validation_Art_2"} | two,
    )
    benchmark = Benchmark.open("mmmu", folder)
    assert [sample.kind for sample in benchmark.samples()] == ["Art"]
    assert benchmark.protocol_facts()["several_images"] == "left out"


def test_hallusionbench_counts_questions_figures_and_pairs(tmp_path: Path) -> None:
    BUILDERS["hallusionbench"](tmp_path / "hallusionbench", PICTURES, 8)
    benchmark = Benchmark.open("hallusionbench", tmp_path)
    samples = benchmark.samples()
    said = {sample.key: sample.reference for sample in samples}
    wrong = "VD_chart_0_1_0"
    said[wrong] = "no" if said[wrong] == "yes" else "yes"
    found = {score.kind: score.value for score in benchmark.score(samples, said)}
    # One of 8 questions; with it, one of 4 figures and one of 4 pairs.
    assert found["aAcc"] == pytest.approx(7 / 8)
    assert found["fAcc"] == found["qAcc"] == pytest.approx(3 / 4)
    assert found["all"] == pytest.approx((7 / 8 + 3 / 4 + 3 / 4) / 3)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"question": "Which?", "answer": "E", **OPTIONS}, "answer 'E'"),
        ({"question": "Which?", "answer": "A", "A": "one"}, "1 options"),
        ({"question": "", "answer": "A", **OPTIONS}, "question"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, cells: dict[str, str], found: str) -> None:
    row = {"index": "0", "image": base64_of(PICTURES[0])} | cells
    path = tmp_path / "SEEDBench_IMG.tsv"
    write_rows(path, list(row), [row])
    with pytest.raises(DataError) as caught:
        Benchmark.open("seedbench", tmp_path).samples()
    assert f"{path}, record 1" in caught.value.where
    assert found in caught.value.found


def test_a_picture_that_is_in_no_row_is_named(tmp_path: Path) -> None:
    row = {"index": "0", "image": "17", "question": "Which?", "answer": "A", **OPTIONS}
    write_rows(tmp_path / "AI2D_TEST.tsv", list(row), [row])
    with pytest.raises(DataError, match=r"AI2D_TEST.*17"):
        Benchmark.open("ai2d", tmp_path).samples()


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet"):
        Benchmark.open("ai2d", tmp_path).samples()
