import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_tree import textvqa
from PIL import Image
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.textvqa.benchmark import TextVQA
from hydra_mobile.benchmarks.textvqa.files import prompt_of, question_in
from hydra_mobile.benchmarks.textvqa.m4c import normalize, soft_accuracy
from hydra_mobile.core.errors import DataError

SUFFIX = "\nAnswer the question using a single word or phrase."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    textvqa(tmp_path, [Image.new("RGB", (8, 8), "red")], 12)
    return tmp_path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, answers: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return path


def llava_answers(folder: Path) -> list[dict[str, Any]]:
    asked = lines(folder / "llava_textvqa_val_v051_ocr.jsonl")
    return [
        {"question_id": line["question_id"], "prompt": line["text"], "text": f"stop{n}"}
        for n, line in enumerate(asked)
    ]


@pytest.mark.parametrize(
    ("answer", "compared"),
    [
        ("Dakota Digital", "dakota digital"),
        ("  STOP\n", "stop"),
        ("the A an sign", "sign"),
        ("Ten, none?", "10 0"),
        ("it's", "it 's"),
        # Beside a space a mark goes, else it becomes one; judged on the text as it came.
        ("a-b", "b"),
        ("red-blue", "red blue"),
        ("red -blue", "red blue"),
        ("x-y - z", "xy z"),
        ("3,000", "3000"),
        ("w@x.com", "w xcom"),
        # The typo of the look-behind: a period goes unless a digit follows it.
        ("5.", "5"),
        ("1.5", "1.5"),
        (".5", ".5"),
        ("u.s.a.", "usa"),
        # The count that should have been a flag: the 33rd period stays.
        ("." * 34, ".."),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("Im Ive", "im ive"),
        ("a\tb\nc", "b c"),
        ("the", ""),
        ("", ""),
    ],
)
def test_answers_are_compared_as_the_m4c_evaluator_compares_them(
    answer: str, compared: str
) -> None:
    assert normalize(answer) == compared


@pytest.mark.parametrize(
    ("matching", "worth"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)]
)
def test_an_answer_is_worth_what_the_other_nine_agree_to(matching: int, worth: float) -> None:
    given = ["Stop."] * matching + [f"other {n}" for n in range(10 - matching)]
    assert soft_accuracy("stop", given) == worth
    # The definition, term by term.
    same = [normalize(answer) == "stop" for answer in given]
    terms = [min(1, (sum(same) - own) / 3) for own in same]
    assert soft_accuracy("stop", given) == pytest.approx(sum(terms) / 10, abs=1e-12)


def test_exactly_ten_answers_are_needed(folder: Path) -> None:
    with pytest.raises(ValueError, match="9 answers"):
        soft_accuracy("stop", ["stop"] * 9)
    path = folder / "TextVQA_0.5.1_val.json"
    value = json.loads(path.read_text())
    value["data"][3]["answers"].pop()
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"question 4 .*34605.* 9 "):
        TextVQA(folder).samples()


def test_prompts_are_llavas_byte_for_byte(folder: Path) -> None:
    benchmark = TextVQA(folder)
    samples = benchmark.samples()
    asked = lines(folder / "llava_textvqa_val_v051_ocr.jsonl")
    assert sorted(map(benchmark.prompt, samples)) == sorted(line["text"] for line in asked)
    assert benchmark.prompt(samples[0]) == (
        "What does sign 0 on the right say?\nReference OCR token: STOP0, Here" + SUFFIX
    )
    assert benchmark.protocol_facts()["ocr_tokens"] is True
    plain = TextVQA(folder, "llava-1.5-no-ocr")
    assert plain.prompt(samples[0]) == "What does sign 0 on the right say?" + SUFFIX
    assert plain.protocol_facts()["ocr_tokens"] is False


def test_prompts_can_be_made_from_rosettas_tokens(folder: Path) -> None:
    path = folder / "llava_textvqa_val_v051_ocr.jsonl"
    samples = TextVQA(folder).samples()
    wanted = [TextVQA(folder).prompt(sample) for sample in samples]
    # The two questions of a picture share their tokens there.
    tokens = [
        {
            "image_id": line["question_id"],
            "ocr_tokens": line["text"].split("\n")[1][21:].split(", "),
        }
        for line in lines(path)
    ]
    path.unlink()
    with pytest.raises(DataError, match=r"(?s)34602.*--protocol"):
        TextVQA(folder).prompt(samples[0])
    (folder / "TextVQA_Rosetta_OCR_v0.2_val.json").write_text(json.dumps({"data": tokens}))
    made = TextVQA(folder)
    alone = [n for n, s in enumerate(samples) if sum(o.cluster == s.cluster for o in samples) == 1]
    assert len(alone) == 4
    assert [made.prompt(samples[n]) for n in alone] == [wanted[n] for n in alone]


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("What is it?\nReference OCR token: A, B" + SUFFIX, "what is it?"),
        ("Reference OCR token: A, B\nWhat is it?" + SUFFIX, "what is it?"),
        ("What is it?" + SUFFIX, "what is it?"),
        ("OCR tokens: A, B. Question: What is it? Short answer:", "what is it?"),
        ("What is it?", None),
    ],
)
def test_questions_are_found_in_the_forms_of_the_official_reader(
    prompt: str, question: str | None
) -> None:
    assert question_in(prompt) == question
    assert prompt_of("what IS it?", []) == "What is it?\nReference OCR token: "


def test_answers_of_one_picture_are_told_apart_by_their_question(folder: Path) -> None:
    benchmark = TextVQA(folder)
    samples = benchmark.samples()
    answers = llava_answers(folder)
    assert len({answer["question_id"] for answer in answers}) < len(answers)
    read = benchmark.read_answers(write(folder / "a.jsonl", answers[::-1]), samples)
    assert [score.value for score in benchmark.score(samples, read)] == [1.0]


def test_official_submissions_are_joined_by_number(folder: Path) -> None:
    benchmark = TextVQA(folder)
    samples = benchmark.samples()
    official = [{"question_id": 34602 + n, "answer": f"stop{n}"} for n in range(12)]
    path = folder / "submission.json"
    path.write_text(json.dumps(official[::-1]))
    read = benchmark.read_answers(path, samples)
    assert read == {str(34602 + n): f"stop{n}" for n in range(12)}
    (metric,) = benchmark.metrics(samples, read)
    assert (metric.value, metric.headline) == (1.0, True)


def test_missing_doubled_unknown_and_foreign_answers_are_counted(folder: Path) -> None:
    benchmark = TextVQA(folder)
    samples = benchmark.samples()
    answers = llava_answers(folder)
    answers[2]["prompt"] = "Who is it?" + SUFFIX
    answers += [answers[5], {"question_id": "ffff", "prompt": "x\n", "text": "y"}]
    path = write(folder / "a.jsonl", answers)
    joined = benchmark.join(path, samples)
    counts = {kind: len(names) for kind, names in joined.problems.items()}
    assert counts == {"missing": 1, "unknown": 1, "duplicate": 1, "mismatched": 1}
    with pytest.raises(DataError, match=r"1 without.*34604"):
        benchmark.read_answers(path, samples)
    read = benchmark.read_answers(path, samples, allow_partial=True)
    with pytest.raises(DataError, match="1 without"):
        benchmark.metrics(samples, read)
    (metric,) = benchmark.metrics(samples, read, partial=True)
    assert (metric.value, len(metric.terms)) == (1.0, 11)


def test_prompts_of_another_protocol_are_noted(folder: Path) -> None:
    answers = llava_answers(folder)
    path = write(folder / "a.jsonl", answers)
    samples = TextVQA(folder).samples()
    assert TextVQA(folder).join(path, samples).notes == ()
    assert TextVQA(folder, "llava-1.5-no-ocr").join(path, samples).notes == (
        "12 prompts in a.jsonl have OCR tokens, against the protocol llava-1.5-no-ocr",
    )
    answers[0]["prompt"] = answers[0]["prompt"].split("\n")[0] + SUFFIX
    joined = TextVQA(folder).join(write(path, answers), samples)
    assert joined.complete
    assert joined.notes == ("1 prompts in a.jsonl lack OCR tokens, against the protocol llava-1.5",)


def test_an_answer_that_could_be_to_either_question_is_refused(folder: Path) -> None:
    benchmark = TextVQA(folder)
    path = write(folder / "a.jsonl", [{"question_id": f"{0:016x}", "text": "stop0"}])
    with pytest.raises(DataError, match=r"image.* 2 questions"):
        benchmark.join(path, benchmark.samples())


def test_credits_are_soft_and_empty_answers_are_counted(folder: Path) -> None:
    benchmark = TextVQA(folder)
    samples = benchmark.samples()
    said = ["stop", "Here.", "", "nothing"] + [sample.reference for sample in samples[4:]]
    answers = {sample.key: text for sample, text in zip(samples, said, strict=True)}
    (score,) = benchmark.score(samples, answers)
    assert score.value == pytest.approx((0.3 + 0.3 + 0 + 0 + 8) / 12, abs=1e-12)
    assert score.unread == 1
    assert benchmark.details(samples, answers) == {"credits": {"0.0": 2, "0.3": 2, "1.0": 8}}
    assert benchmark.credit(samples[0], "stop") == 0.3
    assert not benchmark.is_correct(samples[0], "stop")


def test_a_split_without_answers_has_no_accuracy(folder: Path) -> None:
    value = json.loads((folder / "TextVQA_0.5.1_val.json").read_text())
    for entry in value["data"]:
        del entry["answers"]
    (folder / "TextVQA_0.5.1_test.json").write_text(json.dumps(value))
    benchmark = TextVQA(folder)
    assert {sample.split for sample in benchmark.samples()} == {"val"}
    samples = benchmark.samples(splits=["test"])
    assert benchmark.metrics(samples, {s.key: "x" for s in samples}) == []


def test_a_file_without_questions_is_named(folder: Path) -> None:
    path = folder / "TextVQA_0.5.1_val.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"TextVQA_0\.5\.1_val\.json.*questions"):
        TextVQA(folder).samples()


@needs_pairs
def test_the_acceptance_pair_scores_to_its_figure() -> None:
    expected = json.loads((REAL_PAIRS / "expected.json").read_text())["textvqa"]
    benchmark = TextVQA(REAL_PAIRS / "textvqa")
    samples = benchmark.samples()
    answers = benchmark.read_answers(REAL_PAIRS / expected["predictions"], samples)
    (metric,) = benchmark.metrics(samples, answers)
    assert 100 * metric.value == pytest.approx(expected["accuracy"], abs=1e-6)
    assert benchmark.details(samples, answers)["credits"] == expected["score_histogram"]


@needs_pairs
def test_the_acceptance_prompts_are_rebuilt_byte_for_byte() -> None:
    folder = REAL_PAIRS / "textvqa"
    benchmark = TextVQA(folder)
    official = sorted(line["text"] for line in lines(folder / "llava_textvqa_val_v051_ocr.jsonl"))
    assert sorted(map(benchmark.prompt, benchmark.samples())) == official
    tokens = {line["question_id"]: line["ocr_tokens"] for line in
              lines(folder / "rosetta_ocr_tokens_val.jsonl")}  # fmt: skip
    made = [
        prompt_of(sample.question, tokens[int(sample.key)]) + SUFFIX
        for sample in benchmark.samples()
    ]
    assert sorted(made) == official
