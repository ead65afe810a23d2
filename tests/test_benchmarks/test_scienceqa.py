import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_tree import right_answers, scienceqa
from PIL import Image
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.scienceqa.benchmark import ScienceQA
from hydra_mobile.benchmarks.scienceqa.problems import prompt_of
from hydra_mobile.benchmarks.shared.choice_letters import read_scienceqa
from hydra_mobile.core.errors import DataError

SAMPLE = REAL_PAIRS / "schema_samples/scienceqa"
SUFFIX = "\nAnswer with the option's letter from the given choices directly."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scienceqa(tmp_path, [Image.new("RGB", (8, 8), "red")], 12)
    return tmp_path


def write(path: Path, answers: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return path


def values(benchmark: ScienceQA, answers: dict[str, str], **how: bool) -> dict[str, float]:
    metrics = benchmark.metrics(benchmark.samples(), answers, **how)
    return {metric.kind: metric.value for metric in metrics}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("A", "A"), ("E", "E"), ("F", "FAILED"), ("a", "FAILED"), ("", "FAILED"),
        (" A", "FAILED"), ("A\n", "FAILED"), ("B. apostrophe", "B"), ("B.", "FAILED"),
        ("B. ", "B"), ("B.apostrophe", "FAILED"), ("(B)", "FAILED"), ("AB", "FAILED"),
        ("The answer is B.", "B"), ("The answer is B", "FAILED"), ("The answer is B!", "B"),
        ("So: The answer is Z.", "Z"), ("The answer is A. The answer is B.", "FAILED"),
        ("The answer is B\n", "FAILED"), ("the answer is B.", "FAILED"),
        ("C. no. The answer is B.", "C"), ("F. The answer is B.", "B"),
    ],
)  # fmt: skip
def test_letters_are_read_by_llavas_rules_in_their_order(answer: str, letter: str) -> None:
    assert read_scienceqa(answer) == letter


def test_prompts_are_llavas_and_can_be_made_from_the_problems(folder: Path) -> None:
    samples = ScienceQA(folder).samples()
    assert ScienceQA(folder).prompt(samples[0]) == (
        "Context: Look closely.\nWhich one is 0?\nA. choice 0\nB. choice 1" + SUFFIX
    )
    asked = {sample.key: ScienceQA(folder).prompt(sample) for sample in samples}
    (folder / "llava_test_CQM-A.json").unlink()
    made = {sample.key: ScienceQA(folder).prompt(sample) for sample in samples}
    assert made == asked
    assert (
        prompt_of("Which?", " \n", ["over\ntwo lines", "b"]) == "Which?\nA. over\ntwo lines\nB. b"
    )


def test_text_questions_have_no_picture(folder: Path) -> None:
    samples = ScienceQA(folder).samples()
    assert [sample.image is None for sample in samples] == [False, True] * 6
    assert str(samples[0].image.key).endswith("images/test/5/image.png")  # type: ignore[union-attr]
    assert ScienceQA(folder).max_new_tokens == 1024


def test_the_headline_is_the_accuracy_over_questions_with_a_picture(folder: Path) -> None:
    benchmark = ScienceQA(folder)
    samples = benchmark.samples()
    answers = {s.key: s.reference if s.image else "The answer is A" for s in samples}
    metrics = benchmark.metrics(samples, answers)
    assert [metric.kind for metric in metrics if metric.headline] == ["image"]
    by_kind = {metric.kind: metric for metric in metrics}
    assert (by_kind["image"].value, by_kind["all"].value, by_kind["text"].value) == (1, 0.5, 0)
    assert by_kind["all"].unread == 6
    assert len(by_kind["subject:natural"].terms) == 4
    assert len(by_kind["context:none"].terms) == 4
    assert len(by_kind["grade:1-6"].terms) == 6


def test_failed_and_out_of_range_are_wrong_and_counted_apart(folder: Path) -> None:
    benchmark = ScienceQA(folder)
    samples = benchmark.samples()
    answers = right_answers(samples) | {"5": "C", "6": "D. text", "7": "none", "8": ""}
    # Two and three choices: C and D are beyond them.
    assert [sample.meta["choices"] for sample in samples[:2]] == [2, 3]
    assert benchmark.details(samples, answers) == {
        "failed": 2, "out_of_range": 2, "missing_counted_as_wrong": 0,
    }  # fmt: skip
    assert values(benchmark, answers)["all"] == pytest.approx(8 / 12)
    assert not benchmark.is_correct(samples[0], "C")


def test_a_missing_answer_stops_or_is_wrong(folder: Path) -> None:
    benchmark = ScienceQA(folder)
    samples = benchmark.samples()
    answers = right_answers(samples)
    del answers["5"]
    with pytest.raises(DataError, match=r"1 without.*\(5\)"):
        benchmark.metrics(samples, answers)
    found = values(benchmark, answers, partial=True)
    # The annotation says which have a picture: the missing one stays in the denominator.
    assert found["image"] == pytest.approx(5 / 6)
    assert found["all"] == pytest.approx(11 / 12)
    assert benchmark.details(samples, answers)["missing_counted_as_wrong"] == 1


def llava_line(key: str, prompt: str, text: str) -> dict[str, Any]:
    return {"question_id": key, "prompt": prompt, "text": text, "metadata": {}}


def test_llavas_answers_are_joined_by_id_and_held_to_their_question(folder: Path) -> None:
    benchmark = ScienceQA(folder)
    samples = benchmark.samples()
    answers = [llava_line(s.key, "<image>\n" + benchmark.prompt(s), s.reference) for s in samples]
    path = write(folder / "a.jsonl", answers[::-1])
    assert benchmark.read_answers(path, samples) == right_answers(samples)
    answers[1]["prompt"] = answers[2]["prompt"]
    answers += [answers[4], llava_line("99", "What?", "A")]
    joined = benchmark.join(write(folder / "a.jsonl", answers), samples)
    counts = {kind: len(names) for kind, names in joined.problems.items()}
    assert counts == {"missing": 1, "unknown": 1, "duplicate": 1, "mismatched": 1}


def test_the_scorers_own_files_are_read_from_their_texts(folder: Path) -> None:
    benchmark = ScienceQA(folder)
    samples = benchmark.samples()
    texts = right_answers(samples) | {"5": "not sure"}

    def entry(key: str, text: str) -> dict[str, Any]:
        reference = next(sample.reference for sample in samples if sample.key == key)
        return {
            "question_id": key, "parsed_ans": text, "ground_truth": reference,
            "question": "Unknown", "pred": text, "is_multimodal": False,
        }  # fmt: skip

    output = folder / "m_output.jsonl"
    wrong = entry("5", "not sure")
    whole = {"correct": [entry(k, t) for k, t in texts.items() if k != "5"], "incorrect": [wrong]}
    output.write_text(json.dumps(whole, indent=2))
    assert benchmark.read_answers(output, samples) == texts
    # The official scorer fills in what is missing.
    wrong |= {"pred": "FAILED", "parsed_ans": "FAILED"}
    output.write_text(json.dumps(whole, indent=2))
    assert benchmark.join(output, samples).missing == ("5",)
    wrong |= {"pred": "B", "ground_truth": "B"}
    output.write_text(json.dumps(whole, indent=2))
    assert len(benchmark.join(output, samples).mismatched) == 1

    # Older scripts guessed: `results` has the right index where the text says nothing.
    result = folder / "m_result.json"
    guessed = {"acc": 100.0, "results": {key: 0 for key in texts}, "outputs": texts}
    result.write_text(json.dumps(guessed))
    joined = benchmark.join(result, samples)
    assert joined.answers == texts
    assert "may hold guesses" in joined.notes[0]
    assert values(benchmark, joined.answers)["all"] == pytest.approx(11 / 12)
    del guessed["outputs"]
    result.write_text(json.dumps(guessed))
    with pytest.raises(DataError, match=r"(?s)texts.*guesses"):
        benchmark.join(result, samples)


def test_llavas_file_alone_is_enough_to_score_with(folder: Path) -> None:
    with_problems = ScienceQA(folder)
    samples = with_problems.samples()
    answers = right_answers(samples) | {"5": "C", "6": "B. choice 1"}
    wanted = values(with_problems, answers)
    for name in ("problems.json", "pid_splits.json"):
        (folder / name).unlink()
    alone = ScienceQA(folder)
    assert [s.meta["choices"] for s in alone.samples()] == [s.meta["choices"] for s in samples]
    found = values(alone, answers)
    assert {kind: found[kind] for kind in ("image", "all", "text")} == {
        kind: wanted[kind] for kind in ("image", "all", "text")
    }
    (folder / "llava_test_CQM-A.json").unlink()
    with pytest.raises(DataError, match=r"problems\.json or llava_test_CQM-A\.json.*missing"):
        ScienceQA(folder).samples()


def test_the_official_way_without_padding_is_a_protocol(folder: Path) -> None:
    assert ScienceQA(folder).image_fit is None
    assert ScienceQA(folder, "mobilevlm").image_fit is None
    official = ScienceQA(folder, "mobilevlm-no-padding")
    assert official.image_fit == "crop"
    assert official.protocol_facts()["padding"] == "none, middle square"


def test_odd_files_are_named(folder: Path) -> None:
    path = folder / "problems.json"
    problems = json.loads(path.read_text())
    problems["7"]["answer"] = 4
    path.write_text(json.dumps(problems))
    with pytest.raises(DataError, match=r"problem 7.*answer 4"):
        ScienceQA(folder).samples()
    del problems["7"]
    path.write_text(json.dumps(problems))
    with pytest.raises(DataError, match=r"`test`.*\(7\)"):
        ScienceQA(folder).samples()


@needs_pairs
def test_the_made_sample_of_the_official_formats_is_read() -> None:
    benchmark = ScienceQA(SAMPLE)
    samples = benchmark.samples()
    answers = benchmark.read_answers(SAMPLE / "answers" / "sample-model.jsonl", samples)
    assert answers == {"90001": "A", "90002": "B. apple"}
    assert values(benchmark, answers)["all"] == 1.0
