"""POPE: hand-made annotations of both versions, and the real pair where it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.pope.benchmark import Pope
from hydra_mobile.core.errors import DataError

SUFFIX = "\nAnswer the question using a single word or phrase."
SPLITS = ("random", "popular", "adversarial")
# The older spelling stands in some questions of annotations and of LLaVA's file.
QUESTIONS = [
    ("a.jpg", "Is there a dog in the image?", "yes"),
    ("a.jpg", "Is there a cat in the imange?", "no"),
    ("b.jpg", "Is there a dog in the image?", "no"),
    ("b.jpg", "Is there a cat in the image?", "yes"),
]


def lines(path: Path, values: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    asked = []
    for number, split in enumerate(SPLITS):
        annotations = []
        for index, (image, text, label) in enumerate(QUESTIONS, 1):
            annotations.append({"question_id": index, "image": image, "text": text, "label": label})
            asked.append(
                {
                    "question_id": number * 10_000_000 + index,
                    "image": image,
                    "text": text + SUFFIX,
                    "category": split,
                }
            )
        lines(tmp_path / "pope" / "coco" / f"coco_pope_{split}.json", annotations)
    lines(tmp_path / "pope" / "llava_pope_test.jsonl", asked)
    return tmp_path


def answer_lines(root: Path, said: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """LLaVA's answers: right ones, except where `said` has another for the split."""
    labels = {(image, text): label for image, text, label in QUESTIONS}
    result = []
    for line in (root / "pope" / "llava_pope_test.jsonl").read_text().splitlines():
        asked = json.loads(line)
        text = labels[asked["image"], asked["text"].removesuffix(SUFFIX)].capitalize()
        result.append(
            {
                "question_id": asked["question_id"],
                "prompt": asked["text"],
                "text": (said or {}).get(asked["category"], text),
                "answer_id": "x",
                "model_id": "m",
                "metadata": {},
            }
        )
    return result


def scores(root: Path, values: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    benchmark = Pope(root)
    samples = benchmark.samples()
    answers = benchmark.read_answers(lines(root / "answers.jsonl", values), samples)
    return {(s.name, s.kind): s.value for s in benchmark.score(samples, answers)}


def test_right_answers_score_one_and_exactly_one_is_the_headline(root: Path) -> None:
    benchmark = Pope(root)
    samples = benchmark.samples()
    found = benchmark.score(samples, {s.key: s.reference for s in samples})
    assert [(s.name, s.kind, s.value) for s in found if s.headline] == [("all", "f1 mean", 1.0)]
    table = {(s.name, s.kind): s for s in found}
    assert table["popular", "yes ratio"].value == 0.5
    assert table["popular", "f1"].majority == pytest.approx(2 / 3)
    assert (table["pooled", "f1"].n, table["random", "accuracy"].n) == (12, 4)


def test_answers_are_joined_by_llavas_ids_whatever_their_order(root: Path) -> None:
    values = answer_lines(root, {"popular": "Yes"})
    table = scores(root, values[::-1])
    assert table["random", "f1"] == table["adversarial", "accuracy"] == 1
    assert table["popular", "f1"] == pytest.approx(2 / 3)
    assert table["popular", "precision"] == 0.5
    assert table["all", "f1 mean"] == pytest.approx((1 + 1 + 2 / 3) / 3)


def test_never_saying_yes_is_zero_not_a_division(root: Path) -> None:
    table = scores(root, answer_lines(root, dict.fromkeys(SPLITS, "No")))
    assert table["random", "precision"] == table["random", "recall"] == table["random", "f1"] == 0
    assert table["random", "accuracy"] == 0.5


def test_empty_answers_are_yes_by_the_official_rule(root: Path) -> None:
    table = scores(root, answer_lines(root, dict.fromkeys(SPLITS, "")))
    assert table["random", "yes ratio"] == 1
    benchmark = Pope(root)
    samples = benchmark.samples()
    details = benchmark.details(samples, {s.key: "" for s in samples})
    assert details["random"] == {
        "n": 4, "TP": 2, "FP": 2, "TN": 0, "FN": 0, "neither_yes_nor_no": 4
    }  # fmt: skip


def test_the_newer_spelling_finds_the_older_answers_and_new_questions_are_missing(
    root: Path,
) -> None:
    path = root / "pope" / "coco" / "coco_pope_random.json"
    newer = path.read_text().replace("imange", "image") + json.dumps(
        {"question_id": 5, "image": "b.jpg", "text": "Is there a bus in the image?", "label": "no"}
    )
    path.write_text(newer + "\n")
    benchmark = Pope(root)
    samples = benchmark.samples()
    joined = benchmark.join(lines(root / "answers.jsonl", answer_lines(root)), samples)
    assert joined.problems == {"missing": ("random/b.jpg/Is there a bus in the image?",)}
    with pytest.raises(DataError, match=r"1 without.*random/b\.jpg/Is there a bus"):
        joined.require_complete()
    found = benchmark.score(samples, joined.answers, partial=True)
    assert found[0].value == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[1:], r"1 without an answer \(random/a\.jpg/Is there a dog"),
        (lambda v: [*v, v[0]], r"1 answered more than once \(line 13 \(question_id 1\)\)"),
        (
            lambda v: [{**v[0], "question_id": 77}, *v[1:]],
            r"1 without an answer .*1 answered but unknown \(line 1 \(question_id 77\)\)",
        ),
        (
            lambda v: [{**v[0], "prompt": "Is there a bus in the image?"}, *v[1:]],
            r"1 without an answer .*1 to another question than their key says \(line 1",
        ),
        (lambda v: [], "12 without an answer"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(root: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scores(root, change(answer_lines(root)))


def test_lines_that_name_no_picture_are_refused(root: Path) -> None:
    values = [{"question": q, "answer": "yes"} for _, q, _ in QUESTIONS]
    with pytest.raises(DataError, match="position"):
        scores(root, values)
    (root / "pope" / "llava_pope_test.jsonl").rename(root / "elsewhere.jsonl")
    with pytest.raises(DataError, match=r"llava_pope_test\.jsonl.*missing"):
        scores(root, [{"question_id": 1, "prompt": QUESTIONS[0][1], "text": "yes"}])


def test_lines_with_picture_and_split_need_no_ids(root: Path) -> None:
    values = [
        {"image": image, "category": split, "question": text, "answer": label}
        for split in SPLITS
        for image, text, label in QUESTIONS
    ]
    assert scores(root, values)["all", "f1 mean"] == 1


def test_a_file_of_one_split_with_pictures_is_joined_by_them(root: Path) -> None:
    values = [
        {"question_id": 9, "image": i, "question": f"<image>\n{q}", "answer": label}
        for i, q, label in QUESTIONS
    ]
    benchmark = Pope(root)
    samples = benchmark.samples(splits=["popular"])
    path = lines(root / "model_pope_popular.json", values)
    assert benchmark.join(path, samples).complete
    assert len(benchmark.join(path, benchmark.samples()).missing) == 8


def test_one_split_without_llavas_file_is_joined_by_ids_that_prompts_confirm(root: Path) -> None:
    (root / "pope" / "llava_pope_test.jsonl").rename(root / "elsewhere.jsonl")
    benchmark = Pope(root / "pope" / "coco" / "coco_pope_popular.json")
    samples = benchmark.samples()
    values = [
        {"question_id": n, "prompt": q + SUFFIX, "text": label}
        for n, (_, q, label) in enumerate(QUESTIONS, 1)
    ]
    path = root / "answers.jsonl"
    assert benchmark.join(lines(path, values), samples).complete
    values[0]["prompt"], values[1]["prompt"] = values[1]["prompt"], values[0]["prompt"]
    del values[2]["prompt"]
    assert len(benchmark.join(lines(path, values), samples).mismatched) == 3


def test_the_file_of_questions_is_no_file_of_answers(root: Path) -> None:
    benchmark = Pope(root)
    with pytest.raises(DataError, match=r"questions.*answers"):
        benchmark.join(root / "pope" / "llava_pope_test.jsonl", benchmark.samples())


def test_the_folder_may_be_that_of_the_annotations(root: Path) -> None:
    benchmark = Pope(root / "pope" / "coco")
    samples = benchmark.samples()
    assert len(samples) == 12
    joined = benchmark.join(lines(root / "answers.jsonl", answer_lines(root)), samples)
    assert joined.complete


def test_one_file_of_annotations_scores_its_split_and_sets_the_others_aside(root: Path) -> None:
    benchmark = Pope(root / "pope" / "coco" / "coco_pope_popular.json")
    samples = benchmark.samples()
    joined = benchmark.join(lines(root / "answers.jsonl", answer_lines(root)), samples)
    assert (joined.complete, joined.aside, len(joined.answers)) == (True, 8, 4)
    assert {s.name for s in benchmark.score(samples, joined.answers)} == {"all", "popular"}


def test_prompts_are_those_of_llavas_file_or_made_by_its_rule(root: Path) -> None:
    asked = root / "pope" / "llava_pope_test.jsonl"
    texts = [json.loads(line)["text"] for line in asked.read_text().splitlines()]
    benchmark = Pope(root)
    assert [benchmark.prompt(s) for s in benchmark.samples()] == texts
    assert benchmark.samples(splits=["popular"])[0].meta["question_id"] == 10_000_001
    asked.unlink()
    benchmark = Pope(root)
    assert [benchmark.prompt(s) for s in benchmark.samples()] == texts


@needs_pairs
class TestRealPair:
    answers = REAL_PAIRS / "pope" / "answers" / "llava-v1.5-13b.jsonl"

    def test_the_known_scores_come_out(self) -> None:
        expected = json.loads((REAL_PAIRS / "expected.json").read_text())["pope"]
        benchmark = Pope(REAL_PAIRS)
        samples = benchmark.samples()
        answers = benchmark.read_answers(self.answers, samples)
        metrics = benchmark.metrics(samples, answers)
        table = {(m.split, m.kind): m.value for m in metrics}
        assert table["all", "f1 mean"] == pytest.approx(expected["mean_f1"], abs=1e-9)
        assert table["all", "accuracy mean"] == pytest.approx(expected["mean_accuracy"], abs=1e-9)
        details = benchmark.details(samples, answers)
        for split, known in {**expected["splits"], "pooled": expected["pooled"]}.items():
            for kind in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
                found = table[split, kind.replace("_", " ")]
                assert found == pytest.approx(known[kind], abs=1e-9), (split, kind)
            if split != "pooled":
                assert {n: details[split][n] for n in ("n", "TP", "FP", "TN", "FN")} == {
                    n: known[n] for n in ("n", "TP", "FP", "TN", "FN")
                }

    def test_the_newer_annotations_lack_ninety_answers(self) -> None:
        benchmark = Pope(REAL_PAIRS / "pope" / "coco_2023-10_fixed")
        with pytest.raises(DataError, match=r"90 without.*9000.*8910"):
            benchmark.read_answers(self.answers, benchmark.samples())

    def test_prompts_are_byte_for_byte_llavas(self) -> None:
        asked = (REAL_PAIRS / "pope" / "llava_pope_test.jsonl").read_text().splitlines()
        benchmark = Pope(REAL_PAIRS)
        found = sorted(benchmark.prompt(sample) for sample in benchmark.samples())
        assert found == sorted(json.loads(line)["text"] for line in asked)
