import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_tree import MMBENCH_COLUMNS, encoded, mmbench, right_answers
from PIL import Image
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.mmbench.benchmark import MMBench
from hydra_mobile.benchmarks.shared.choice_letters import (
    is_none,
    read_option,
    read_option_vlmevalkit,
)
from hydra_mobile.benchmarks.shared.tab_separated import write_rows
from hydra_mobile.benchmarks.shared.xlsx import read_sheet, write_sheet
from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import DataError

SAMPLE = REAL_PAIRS / "schema_samples/mmbench"
SUFFIX = "\nAnswer with the option's letter from the given choices directly."
TABLE = "mmbench_dev_20230712.tsv"
RED = Image.new("RGB", (8, 8), "red")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five questions of 2, 3, 4, 2 and 3 options: 14 rows."""
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    mmbench(tmp_path / TABLE, pictures, 12)
    return tmp_path


def row(index: int, answer: str = "A", **cells: str) -> dict[str, str]:
    return {
        "index": str(index), "question": "Which?", "A": "red", "B": "blue", "answer": answer,
        "image": encoded(RED), "split": "dev",
    } | cells  # fmt: skip


def table(path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = ()) -> Path:
    write_rows(path, columns or MMBENCH_COLUMNS, rows)
    return path


def values(benchmark: MMBench, answers: dict[str, str], **how: bool) -> dict[str, float]:
    metrics = benchmark.metrics(benchmark.samples(), answers, **how)
    return {metric.kind: metric.value for metric in metrics}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("A", "A"), (" B\n", "B"), ("C.", "C"), ("B. anything", "B"), ("B.anything", "B"),
        ("(C)", "C"), ("(C) a dog", "C"), ("A) cat", "A"), ("Cat", "A"), ("  a BIRD ", "B"),
        ("D", ""), ("(D)", ""), ("a", ""), ("", ""), ("The answer is A.", ""), ("AB", ""),
        ("A cat", ""), ("twice", ""), ("cat.", ""), ("A: cat", ""),
    ],
)  # fmt: skip
def test_letters_are_read_by_rules_alone(answer: str, letter: str) -> None:
    assert read_option(answer, ["cat", "a bird", "dog"]) == letter


def test_a_text_that_two_options_share_is_no_answer() -> None:
    assert read_option("twice", ["twice", "twice", "once"]) == ""
    assert read_option("once", ["twice", "twice", "once"]) == "C"
    # A letter is a letter, even where it is the text of another option.
    assert read_option("B", ["B", "A"]) == "B"


@pytest.mark.parametrize("text", ["", "nan", "NaN", "none", "None", "NONE"])
def test_cells_that_llava_takes_for_missing(text: str) -> None:
    assert is_none(text)
    assert not is_none(f"{text}x")
    assert not is_none(" ")


def test_prompts_hold_hint_question_and_the_options_there_are(tmp_path: Path) -> None:
    rows = [
        row(1, hint="Look\nhere.", A="1", B="2.50", C="", D="never"),
        row(2, hint="nan", C="None", D="4"),
        row(3, hint="None", C="NA", D="null"),
    ]
    table(tmp_path / TABLE, rows)
    benchmark = MMBench(tmp_path)
    samples = {sample.key: sample for sample in benchmark.samples()}
    # The options end at the first missing one; a true option "None" is lost, as in LLaVA.
    assert benchmark.prompt(samples["1"]) == "Look\nhere.\nWhich?\nA. 1\nB. 2.50" + SUFFIX
    assert benchmark.prompt(samples["2"]) == "Which?\nA. red\nB. blue" + SUFFIX
    assert benchmark.prompt(samples["3"]) == "Which?\nA. red\nB. blue\nC. NA\nD. null" + SUFFIX
    assert benchmark.max_new_tokens == 1024


def test_a_right_option_that_is_lost_does_not_stop_the_table(tmp_path: Path) -> None:
    rows = [row(1, "C", C="None"), row(1_000_001, "A", A="None", B="red", C="blue")]
    table(tmp_path / TABLE, rows)
    benchmark = MMBench(tmp_path)
    first, turned = benchmark.samples()
    assert (first.question, turned.question) == ("Which?\nA. red\nB. blue", "Which?")
    assert benchmark.is_correct(first, "C")
    assert benchmark.is_correct(turned, "A")
    assert not benchmark.is_correct(first, "")
    assert not benchmark.is_correct(first, "D")


def test_columns_are_read_by_name(tmp_path: Path) -> None:
    rows = [row(1), row(1_000_001, "B", A="blue", B="red")]
    table(tmp_path / TABLE, rows)
    before = MMBench(tmp_path).samples()
    turned = tuple(reversed(("extra", *MMBENCH_COLUMNS)))
    table(tmp_path / TABLE, rows, turned)
    after = MMBench(tmp_path).samples()
    assert [(s.key, s.question, s.reference) for s in after] == [
        (s.key, s.question, s.reference) for s in before
    ]


#: Answers and what VLMEvalKit's own code (`can_infer`, exact matching) reads of blue, red, yellow.
THEIR_READING = {
    "B": "B", "B.": "B", "(B)": "B", "[B]": "B", "**B**": "B", "B) red": "B", "B: red": "B",
    "b": "", "D": "", "Z": "", "none of these: Z": "", "": "", "A or B": "", "B or B": "B",
    "Answer: B": "B", "The answer is B.": "B", "The answer is B, red": "B",
    # A letter counts among the last four words only.
    "B is the right one": "", "Option B is the right one here": "", "B, because of its color": "",
    "It is red": "B", "It is RED.": "B", "It is red and blue": "", "red, not blue": "",
    "I would say that this one must be red": "",  # longer than twice all options
    "red " * 20: "",
    "A red thing": "A", "A red one, I think it is": "B",  # the article
    "Cannot determine the answer B": "", "Sorry, I can't help with images of people yet. B": "",
    "Failed to obtain answer via API": "", "Failed to obtain answer via API B red": "",
}  # fmt: skip


@pytest.mark.parametrize("answer", THEIR_READING)
def test_vlmevalkits_exact_matching(answer: str) -> None:
    options = ("blue", "red", "yellow")
    assert read_option_vlmevalkit(answer, options) == THEIR_READING[answer]
    # Both readings agree wherever the strict one reads something.
    strict = read_option(answer, options)
    assert strict in ("", THEIR_READING[answer])


def test_both_readings_are_named_in_the_result(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    answers = {key: f"The answer is {letter}" for key, letter in right_answers(samples).items()}
    metrics = {metric.kind: metric for metric in benchmark.metrics(samples, answers)}
    assert metrics["circular"].value == 0
    loose = metrics["circular (VLMEvalKit exact matching)"]
    assert (loose.value, loose.unread, loose.headline) == (1, 0, False)


def test_a_question_without_its_first_row_counts_in_our_number_alone(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = [s for s in benchmark.samples() if s.key != "100"]
    metrics = {m.kind: m for m in benchmark.metrics(samples, right_answers(samples))}
    assert len(metrics["circular"].terms) == 5
    assert len(metrics["circular (VLMEvalKit exact matching)"].terms) == 4


def test_three_accuracies_with_three_names(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    answers = right_answers(samples)
    # One rotation of question 101 (three rows) and the first pass of 102 (four rows) are wrong.
    answers["1000101"] = "no idea"
    answers["102"] = "D" if answers["102"] != "D" else "A"
    metrics = benchmark.metrics(samples, answers)
    found = {metric.kind: metric for metric in metrics}
    assert [metric.kind for metric in metrics if metric.headline] == ["circular"]
    assert found["circular"].value == pytest.approx(3 / 5)
    assert found["first pass"].value == pytest.approx(4 / 5)
    assert found["per row"].value == pytest.approx(12 / 14)
    # Color: 100, 102, 104; shape: 101, 103.
    assert found["category:color"].value == pytest.approx(2 / 3)
    assert found["category:shape"].value == pytest.approx(1 / 2)
    assert found["l2-category:perception"].value == pytest.approx(3 / 5)
    assert found["circular"].unread == found["per row"].unread == 1
    assert {metric.split for metric in metrics} == {"mmbench_dev_20230712"}
    assert benchmark.details(samples, answers)["mmbench_dev_20230712"] == {
        "questions": 5, "rows": 14, "questions_with_rotations_missing": 0, "unread": 1,
        "has_answers": True,
    }  # fmt: skip


def test_a_constant_letter_is_never_right_all_the_way_round(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    found = {
        m.kind: m for m in benchmark.metrics(samples, dict.fromkeys(right_answers(samples), "A"))
    }
    assert found["circular"].value == found["circular"].majority == 0
    assert found["first pass"].value == found["first pass"].majority == 1
    assert found["per row"].value == found["per row"].majority == pytest.approx(5 / 14)


def test_rotations_of_a_question_are_one_cluster_and_one_picture(tmp_path: Path) -> None:
    other = encoded(Image.new("RGB", (9, 9), "blue"))
    rows = [
        row(1), row(2), row(3, image=other),
        # The same picture in other bytes: still the same question.
        row(1_000_001, image=other), row(1_000_002), row(1_000_003),
    ]  # fmt: skip
    table(tmp_path / TABLE, rows)
    samples = {sample.key: sample for sample in MMBench(tmp_path).samples()}
    assert samples["1"].image == samples["2"].image == samples["1000002"].image
    assert samples["1"].image != samples["3"].image
    assert samples["1"].cluster == samples["1000001"].cluster == samples["2"].cluster
    assert samples["3"].cluster == samples["1000003"].cluster != samples["1"].cluster
    assert list(samples) == ["1", "1000001", "2", "1000002", "3", "1000003"]


def test_pictures_are_read_where_they_lie(folder: Path) -> None:
    sizes = {sample.image.open().getpixel((4, 4)) for sample in MMBench(folder).samples()}  # type: ignore[union-attr]
    assert len(sizes) == 3
    assert all(sample.image.exists() for sample in MMBench(folder).samples())  # type: ignore[union-attr]


def test_an_index_in_the_picture_column_points_at_the_row_that_has_it(tmp_path: Path) -> None:
    rows = [row(1), row(1_000_001, image="1"), row(2, image="1000001"), row(3, image="1.0")]
    table(tmp_path / TABLE, rows)
    samples = MMBench(tmp_path).samples()
    assert len({sample.image for sample in samples}) == 1
    assert samples[1].image.open().size == (8, 8)  # type: ignore[union-attr]
    table(tmp_path / TABLE, [row(1), row(2, image="9")])
    with pytest.raises(DataError, match=r"index 2: .*row 9"):
        MMBench(tmp_path).samples()
    table(tmp_path / TABLE, [row(1, image="2"), row(2, image="1")])
    with pytest.raises(DataError, match=r"index 1: .*row 1"):
        MMBench(tmp_path).samples()
    table(tmp_path / TABLE, [row(1, image="['abc', 'def']")])
    with pytest.raises(DataError, match="list"):
        MMBench(tmp_path).samples()


def test_a_table_without_pictures_can_be_scored_and_not_asked(tmp_path: Path) -> None:
    rows = [row(1), row(1_000_001, "B")]
    table(tmp_path / TABLE, rows, ("index", "question", "A", "B", "answer"))
    benchmark = MMBench(tmp_path)
    assert values(benchmark, {"1": "A", "1000001": "B"})["circular"] == 1
    picture = benchmark.samples()[0].image
    assert picture is not None
    assert not picture.exists()
    with pytest.raises(DataError, match=r"index 1.*image"):
        picture.open()


def test_a_broken_picture_names_its_row(tmp_path: Path) -> None:
    table(tmp_path / TABLE, [row(7, image=encoded(RED)[:60])])
    (sample,) = MMBench(tmp_path).samples()
    with pytest.raises(DataError, match=f"{TABLE}, index 7"):
        sample.image.open()  # type: ignore[union-attr]


def test_the_test_split_gives_a_workbook_and_no_accuracy(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = tmp_path / "mmbench_test_20230712.tsv"
    columns = tuple(name for name in MMBENCH_COLUMNS if name != "answer")
    table(path, [row(1, split="test"), row(1_000_001, split="test")], columns)
    benchmark = MMBench(tmp_path)
    samples = benchmark.samples()
    answers = {"1": "A", "1000001": "B. red"}
    assert benchmark.metrics(samples, answers) == []
    assert not benchmark.is_correct(samples[0], "")
    files = benchmark.write_submission(samples, answers, tmp_path / "out", "m")
    assert read_sheet(files[1]) == [
        ["index", "question", "A", "B", "C", "D", "prediction", "split"],
        ["1", "Which?", "red", "blue", "", "", "A", "test"],
        ["1000001", "Which?", "red", "blue", "", "", "B. red", "test"],
    ]
    result = CliRunner().invoke(
        app, ["score", "mmbench", "--answers", str(files[1]), "--data", str(tmp_path)]
    )
    assert result.exit_code == 0
    assert "no right answers" in result.output
    assert "%" not in result.output


def llava_lines(benchmark: MMBench) -> list[dict[str, Any]]:
    return [
        {
            "question_id": int(sample.key),
            "round_id": 0,
            "prompt": sample.question,
            "text": sample.reference,
            "options": list(sample.meta["options"]),
            "option_char": list("ABCD"[: len(sample.meta["options"])]),
        }
        for sample in benchmark.samples()
    ]


def write(path: Path, answers: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return path


def test_answers_are_joined_by_index_whatever_their_order(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    answers = llava_lines(benchmark)
    path = write(folder / "a.jsonl", answers[::-1])
    assert benchmark.read_answers(path, samples) == right_answers(samples)
    answers[1]["prompt"] = "Something else?\nA. x"
    answers += [answers[3] | {"round_id": 1}, answers[0] | {"question_id": 5}]
    joined = benchmark.join(write(folder / "a.jsonl", answers), samples)
    counts = {kind: len(names) for kind, names in joined.problems.items()}
    assert counts == {"missing": 1, "unknown": 1, "duplicate": 1, "mismatched": 1}
    assert "round 1" in joined.duplicate[0]


def test_workbooks_and_tables_with_predictions_are_read(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    wanted = right_answers(samples)
    head = ["prediction", "index", "category", "question", "answer"]
    body: list[list[str | int | None]] = [
        [wanted[s.key], int(s.key), None, s.meta["question"], s.reference] for s in samples
    ]
    write_sheet(folder / "a.xlsx", [head, *body[::-1], [None, None]])
    assert benchmark.read_answers(folder / "a.xlsx", samples) == wanted
    # An empty cell is an empty answer: wrong, and counted as unread.
    body[0][0] = None
    write_sheet(folder / "a.xlsx", [head, *body])
    answers = benchmark.read_answers(folder / "a.xlsx", samples)
    assert answers[samples[0].key] == ""
    assert benchmark.details(samples, answers)["mmbench_dev_20230712"]["unread"] == 1
    # The right answers of another table, and another question.
    body[1][4] = "B" if body[1][4] != "B" else "A"
    body[2][3] = "Who?"
    write_sheet(folder / "a.xlsx", [head, *body])
    assert len(benchmark.join(folder / "a.xlsx", samples).mismatched) == 2
    texts = [{"index": s.key, "prediction": wanted[s.key]} for s in samples]
    write_rows(folder / "b.tsv", ("index", "prediction"), texts)
    assert benchmark.read_answers(folder / "b.tsv", samples) == wanted
    (folder / "c.csv").write_text("index,prediction\n" + "".join(f"{s.key},A\n" for s in samples))
    assert set(benchmark.read_answers(folder / "c.csv", samples).values()) == {"A"}
    write_sheet(folder / "a.xlsx", [["index", "question"], [1, "x"]])
    with pytest.raises(DataError, match=r"a\.xlsx.*prediction.*index"):
        benchmark.join(folder / "a.xlsx", samples)


def test_an_incomplete_run_stops_or_counts_the_question_as_wrong(folder: Path) -> None:
    benchmark = MMBench(folder)
    samples = benchmark.samples()
    answers = right_answers(samples)
    del answers["1000100"]
    with pytest.raises(DataError, match=r"1 without.*1000100"):
        benchmark.metrics(samples, answers)
    found = values(benchmark, answers, partial=True)
    assert (found["circular"], found["first pass"], found["per row"]) == (4 / 5, 1, 1)


def test_a_limit_keeps_whole_questions(folder: Path) -> None:
    samples = MMBench(folder).samples(limit=8)
    assert 0 < len(samples) <= 8
    groups = {sample.meta["group"] for sample in samples}
    for group in groups:
        rows = [sample for sample in samples if sample.meta["group"] == group]
        assert len(rows) == len(rows[0].meta["options"])


def test_each_protocol_has_its_own_table(folder: Path) -> None:
    other = folder / "mmbench_dev_en_20231003.tsv"
    (folder / TABLE).rename(other)
    # The only one there is, named in the result.
    assert MMBench(folder).protocol_facts()["files"] == [other.name]
    assert {s.split for s in MMBench(folder).samples()} == {other.stem}
    table(folder / TABLE, [row(1)])
    assert len(MMBench(folder).samples()) == 1
    assert len(MMBench(folder, "mobilevlm").samples()) == 14
    assert len(MMBench(folder, "mobilevlm").samples(splits=["mmbench_dev_20230712"])) == 1
    assert len(MMBench(other).samples()) == 14
    (folder / TABLE).rename(folder / "mmbench_dev_cn.tsv")
    with pytest.raises(DataError, match=r"(?s)2 tables.*mmbench_dev_20230712.*--splits"):
        MMBench(folder).samples()


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([row(1), row(1)], (), "two rows with the index 1"),
        ([row(1) | {"index": "x"}], (), r"record 1: the index is 'x'"),
        ([row(1, answer="E")], (), r"index 1: the answer is 'E', expected one of A, B, C, D"),
        ([row(1)], ("index", "A", "B"), "lacks the columns question"),
    ],
)
def test_odd_tables_are_refused(
    tmp_path: Path, rows: list[dict[str, str]], columns: tuple[str, ...], message: str
) -> None:
    table(tmp_path / TABLE, rows, columns)
    with pytest.raises(DataError, match=message):
        MMBench(tmp_path).samples()


@needs_pairs
def test_the_made_sample_of_the_official_formats_is_read() -> None:
    benchmark = MMBench(SAMPLE)
    samples = benchmark.samples()
    answers = benchmark.read_answers(SAMPLE / "answers" / "sample-model.jsonl", samples)
    found = values(benchmark, answers)
    assert (found["circular"], found["first pass"], found["per row"]) == (0.5, 1.0, 0.8)
    lines = (SAMPLE / "answers" / "sample-model.jsonl").read_text().splitlines()
    prompts = {json.loads(line)["prompt"] + SUFFIX for line in lines}
    assert {benchmark.prompt(sample) for sample in samples} == prompts
    assert samples[0].image.open().size == (8, 8)  # type: ignore[union-attr]
