"""GQA: hand-made questions in the official form, and the real pair of GQA-OOD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.gqa.benchmark import Gqa
from hydra_mobile.benchmarks.gqa.scores import read_answer
from hydra_mobile.core.errors import DataError

SUFFIX = "\nAnswer the question using a single word or phrase."


def question(
    text: str, answer: str, structural: str, image: str, group: str | None = None, **more: Any
) -> dict[str, Any]:
    steps = [("select", "table (1)"), ("relate", "on,s (2)"), ("query", "name")]
    return {
        "question": text,
        "answer": answer,
        "fullAnswer": f"It is {answer}.",
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": group, "local": None},
        "types": {"structural": structural, "semantic": "rel", "detailed": "x"},
        "semantic": [{"operation": o, "argument": a, "dependencies": []} for o, a in steps],
        "semanticStr": "",
        "entailed": [],
        "equivalent": [],
        "annotations": {},
    } | more


QUESTIONS = {
    "1": question("What is on the table?", "cup", "query", "n1", "object"),
    "2": question("Is it red?", "yes", "verify", "n2"),
    "3": question("What is that?", "lamp", "query", "n1", "object"),
    "4": question("Left or right?", "left", "choose", "n2"),
    "5": question("Is it odd?", "no", "verify", "n2", isBalanced=False),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "gqa"
    folder.mkdir()
    (folder / "testdev_balanced_questions.json").write_text(json.dumps(QUESTIONS))
    asked = [
        {"question_id": n, "image": f"{q['imageId']}.jpg", "text": q["question"] + SUFFIX}
        for n, q in QUESTIONS.items()
        if q["isBalanced"]
    ]
    text = "".join(json.dumps(line | {"category": "default"}) + "\n" for line in asked)
    (folder / "llava_gqa_testdev_balanced.jsonl").write_text(text)
    return tmp_path


def llava(said: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"question_id": n, "prompt": QUESTIONS[n]["question"] + SUFFIX, "text": text}
        for n, text in said.items()
    ]


RIGHT = {"1": "Cup.", "2": "Yes", "3": "lamp", "4": "LEFT..."}


def write(root: Path, values: list[dict[str, Any]], *, as_list: bool = False) -> Path:
    path = root / ("predictions.json" if as_list else "answers.jsonl")
    text = "\n".join(json.dumps(value) for value in values)
    path.write_text(json.dumps(values) if as_list else text)
    return path


def scores(root: Path, path: Path) -> dict[tuple[str, str], float]:
    benchmark = Gqa(root)
    samples = benchmark.samples()
    found = benchmark.score(samples, benchmark.read_answers(path, samples))
    assert [(s.name, s.kind) for s in found if s.headline] == [("all", "all")]
    return {(score.name, score.kind): score.value for score in found}


@pytest.mark.parametrize(
    ("text", "read"),
    [("Yes.", "yes"), ("Cup...", "cup"), (" cup", " cup"), ("a cup", "a cup"), ("Cup. ", "cup. "),
     ("", ""), ("Cup.\n", "cup.\n"), ("U.S.", "u.s")],
)  # fmt: skip
def test_answers_lose_capitals_and_full_stops_and_nothing_else(text: str, read: str) -> None:
    assert read_answer(text) == read


def test_accuracy_by_type_of_question(root: Path) -> None:
    table = scores(root, write(root, llava(RIGHT | {"3": "lamps"})[::-1]))
    assert table["all", "all"] == 0.75
    assert table["all", "open"] == table["all", "structural:query"] == 0.5
    assert table["all", "binary"] == table["all", "structural:choose"] == 1
    assert table["all", "semantic:rel"] == 0.75
    # "query: name" is no step of its own.
    assert {kind for _, kind in table if kind.startswith("steps")} == {"steps:2"}
    assert table["all", "words:3"] == pytest.approx(2 / 3)


def test_predictions_of_the_official_tool_are_read_too(root: Path) -> None:
    values = [{"questionId": n, "prediction": read_answer(text)} for n, text in RIGHT.items()]
    assert scores(root, write(root, values, as_list=True))["all", "all"] == 1
    benchmark = Gqa(root)
    samples = benchmark.samples()
    assert not benchmark.join(root / "predictions.json", samples).notes
    values[0]["prediction"] = "Cup"
    notes = benchmark.join(write(root, values, as_list=True), samples).notes
    assert "GQA's own tool" in notes[0]


def test_unbalanced_questions_are_neither_asked_nor_missed(root: Path) -> None:
    benchmark = Gqa(root)
    samples = benchmark.samples()
    assert [s.key for s in samples] == ["1", "3", "2", "4"], "a picture's questions are together"
    joined = benchmark.join(write(root, llava(RIGHT | {"5": "yes"})), samples)
    assert (joined.complete, joined.aside, len(joined.answers)) == (True, 1, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[1:], r"1 without an answer \(1\)"),
        (lambda v: [*v, v[2]], r"1 answered more than once \(line 5 \(question_id 3\)\)"),
        (lambda v: [*v, {**v[0], "question_id": "9"}], r"1 answered but unknown \(line 5"),
        (
            lambda v: [{**v[0], "question_id": "2"}, {**v[1], "question_id": "1"}, *v[2:]],
            r"2 without an answer \(1, 2\); 2 to another question than their key says",
        ),
        (lambda v: [{"question_id": "1"}, *v[1:]], r"line 1 .* holds no answer: expected .*`text`"),
        (lambda v: [{**v[0], "text": None}, *v[1:]], r"`text` is None, expected the answer's text"),
    ],
)
def test_what_does_not_fit_is_counted_and_named(root: Path, change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scores(root, write(root, change(llava(RIGHT))))


def test_empty_answers_are_wrong_and_counted(root: Path) -> None:
    benchmark = Gqa(root)
    samples = benchmark.samples()
    answers = {s.key: "" for s in samples}
    assert benchmark.score(samples, answers)[0].value == 0
    assert benchmark.details(samples, answers)["empty"] == 4


def test_the_distribution_is_a_chi_square_over_groups(root: Path) -> None:
    benchmark = Gqa(root)
    samples = benchmark.samples()
    right = {s.key: s.reference for s in samples}
    assert benchmark.details(samples, right)["distribution"] == 0
    # Both objects called a cup: one too many of cups, one lamp too few.
    assert benchmark.details(samples, right | {"3": "cup"})["distribution"] == 2


@pytest.mark.parametrize("layout", ["", "data", "data/questions1.2"])
def test_both_layouts_and_both_folders_are_found(root: Path, layout: str) -> None:
    folder = root / "gqa"
    (folder / layout / "images").mkdir(parents=True)
    (folder / "testdev_balanced_questions.json").rename(
        folder / layout / "testdev_balanced_questions.json"
    )
    for data in (root, folder, folder / layout / "testdev_balanced_questions.json"):
        assert len(Gqa(data).samples()) == 4
    pictures = {"": "images", "data": "data/images"}.get(layout)
    if pictures:
        first = Gqa(root).samples()[0].image
        assert first is not None
        assert first.key == str(folder / pictures / "n1.jpg")


def test_prompts_are_llavas_or_made_by_its_rule(root: Path) -> None:
    with_file = [Gqa(root).prompt(s) for s in Gqa(root).samples()]
    (root / "gqa" / "llava_gqa_testdev_balanced.jsonl").unlink()
    assert [Gqa(root).prompt(s) for s in Gqa(root).samples()] == with_file
    assert with_file[0] == "What is on the table?" + SUFFIX


def test_questions_with_fewer_fields_give_fewer_parts(root: Path) -> None:
    fewer = {n: {"question": q["question"], "answer": q["answer"]} for n, q in QUESTIONS.items()}
    (root / "gqa" / "testdev_balanced_questions.json").write_text(json.dumps(fewer))
    table = scores(root, write(root, llava(RIGHT | {"5": "No"})))
    assert set(table) == {("all", "all"), ("all", "words:3"), ("all", "words:5")}
    assert table["all", "all"] == 1


def test_foreign_files_are_named(root: Path) -> None:
    path = root / "gqa" / "testdev_balanced_questions.json"
    path.write_text(json.dumps({"1": {"isBalanced": True, "question": "What?"}}))
    with pytest.raises(DataError, match=r"question 1.*'answer'"):
        Gqa(root).samples()
    path.write_text("[]")
    with pytest.raises(DataError, match="GQA"):
        Gqa(root).samples()


def test_a_subset_sets_answers_to_the_rest_of_the_full_set_aside(root: Path) -> None:
    (root / "gqa" / "testdev_balanced_questions.json").unlink()
    for part, number in (("head", "1"), ("tail", "2")):
        questions = json.dumps({number: QUESTIONS[number]})
        (root / "gqa" / f"ood_testdev_{part}.json").write_text(questions)
    benchmark = Gqa(root)
    samples = benchmark.samples()
    joined = benchmark.join(write(root, llava(RIGHT | {"5": "no"})), samples)
    assert (len(joined.answers), joined.aside) == (2, 2)
    assert joined.unknown == ("line 5 (question_id 5)",)


@needs_pairs
class TestRealPair:
    data = REAL_PAIRS / "gqa_ood"
    answers = data / "answers" / "llava-v1.5-13b.subset.jsonl"

    @pytest.mark.parametrize("inside", [".", "gqa_ood"])
    def test_the_known_scores_come_out(self, inside: str) -> None:
        expected = json.loads((REAL_PAIRS / "expected.json").read_text())["gqa_ood"]["scores"]
        benchmark = Gqa(REAL_PAIRS / inside)
        samples = benchmark.samples()
        metrics = benchmark.metrics(samples, benchmark.read_answers(self.answers, samples))
        table = {(m.split, m.kind): m for m in metrics}
        for name, known in expected.items():
            split, _, kind = name.partition("/")
            key = (split, kind or "all") if split in ("all", "head", "tail") else ("all", name)
            assert 100 * table[key].value == pytest.approx(known["accuracy"], abs=1e-9), name
            assert len(table[key].terms) == known["n"], name
        assert "not comparable" in benchmark.protocol_facts()["notes"][0]

    def test_a_chosen_part_sets_the_other_parts_answers_aside(self) -> None:
        benchmark = Gqa(self.data)
        joined = benchmark.join(self.answers, benchmark.samples(splits=["tail"]))
        assert (joined.complete, joined.aside, len(joined.answers)) == (True, 1733, 1063)

    def test_one_part_alone_finds_the_other_parts_answers_unknown(self) -> None:
        benchmark = Gqa(self.data / "ood_testdev_head.json")
        with pytest.raises(DataError, match=r"1063.*unknown"):
            benchmark.read_answers(self.answers, benchmark.samples())

    def test_prompts_are_byte_for_byte_llavas(self) -> None:
        path = self.data / "llava_gqa_testdev_balanced.subset.jsonl"
        asked = [json.loads(line) for line in path.read_text().splitlines()]
        benchmark = Gqa(self.data)
        found = {sample.key: benchmark.prompt(sample) for sample in benchmark.samples()}
        assert found == {line["question_id"]: line["text"] for line in asked}
