"""MME: a small hand-made release, and a full-size results folder made from a seed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.mme.benchmark import Mme
from hydra_mobile.benchmarks.mme.files import PERCEPTION, QUESTIONS, place_of
from hydra_mobile.benchmarks.mme.scores import read_answer
from hydra_mobile.core.errors import DataError

SUFFIX = "\nAnswer the question using a single word or phrase."
# One folder has pictures and questions apart, one together; one question has two spaces.
RELEASE = {
    ("existence", "1.jpg"): [
        ("Is there a kettle?", "Please answer yes or no.", "Yes"),
        ("Is there a drum?", "Please answer yes or no.", "No"),
    ],
    ("existence", "2.jpg"): [
        ("Is there a kettle?", " Please answer yes or no.", "No"),
        ("Is there a lamp?", "Please answer yes or no.", "Yes"),
    ],
    ("posters", "images/p.one.png"): [
        ("Is it a film?", "Please answer yes or no.", "Yes"),
        ("Is it a book?", "Please answer yes or no.", "No"),
    ],
    ("code_reasoning", "0020.png"): [
        ("Does it print 'Hello'?", "Please answer yes or no.", "Yes"),
        ("Does it print '1'?", "Please answer yes or no.", "No"),
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    release = tmp_path / "mme" / "MME_Benchmark_release_version"
    asked = []
    for (subtask, image), questions in RELEASE.items():
        inner = "questions_answers_YN" if "/" in image else ""
        stem = image.removeprefix("images/").rpartition(".")[0]
        path = release / subtask / inner / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        # No line end behind the last line, as in part of the release.
        path.write_text("\n".join(f"{q} {end}\t{truth}" for q, end, truth in questions))
        for question, _, _ in questions:
            name = f"{subtask}/{image}"
            line = {"question_id": name, "image": name, "text": question + SUFFIX}
            asked.append(line | {"category": subtask})
    (tmp_path / "mme" / "images").symlink_to("MME_Benchmark_release_version")
    text = "".join(json.dumps(line) + "\n" for line in asked)
    (tmp_path / "mme" / "llava_mme.jsonl").write_text(text)
    return tmp_path


def llava(root: Path, said: Callable[[str], str] = str) -> list[dict[str, Any]]:
    values = []
    for (subtask, image), questions in RELEASE.items():
        for question, _, truth in questions:
            line = {"question_id": f"{subtask}/{image}", "prompt": question + SUFFIX}
            values.append(line | {"text": said(truth), "answer_id": "x", "model_id": "m"})
    return values


def write(root: Path, values: list[dict[str, Any]]) -> Path:
    path = root / "answers.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def scores(root: Path, path: Path, *, partial: bool = False) -> dict[tuple[str, str], float]:
    benchmark = Mme(root)
    benchmark.answers_at(path)
    samples = benchmark.samples()
    answers = benchmark.read_answers(path, samples, allow_partial=partial)
    found = benchmark.score(samples, answers, partial=partial)
    return {(score.name, score.kind): score.value for score in found}


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("yes", "yes"), ("Yes.", "yes"), ("NO", "no"), ("no\n", "no"), ("yes\n", "yes"),
        (" yes", "yes"), ("  yes", "other"), (" no", "no"), ("not sure", "no"), ("know", "no"),
        ("none", "no"), ("Noyes", "no"), ("nyes", "yes"), ("", "other"), ("\n", "other"),
        ("maybe", "other"), ("The answer is yes", "other"), ("n", "other"), ("\nno", "no"),
    ],
)  # fmt: skip
def test_answers_are_read_by_their_first_four_characters(answer: str, read: str) -> None:
    assert read_answer(answer) == read


def test_questions_are_equal_whatever_file_they_come_from() -> None:
    places = {
        place_of("posters/images/p.one.png", f"Is it a film?{SUFFIX}"),
        place_of("p.one.txt", "Is it  a film?  Please answer yes or no.", "posters"),
        place_of("p.one.png", "<image>\nIs it a film?", "posters"),
        place_of("p.one", f"Is it a film? Please answer yes or no.{SUFFIX}", "posters"),
    }
    assert {place.key for place in places} == {"posters/p.one/Is it a film?"}


def test_right_answers_reach_every_point(root: Path) -> None:
    table = scores(root, write(root, llava(root)))
    assert table["perception", "all"] == 400
    assert table["cognition", "all"] == table["cognition", "code_reasoning"] == 200
    assert table["perception and cognition", "all"] == 600
    assert table["perception", "posters accuracy+"] == 1
    benchmark = Mme(root)
    samples = benchmark.samples()
    found = benchmark.score(samples, {s.key: s.reference for s in samples})
    assert [(s.name, s.kind, s.unit, s.majority) for s in found if s.headline] == [
        ("perception", "all", "points", 100.0)
    ]


def test_a_picture_counts_only_with_both_right(root: Path) -> None:
    values = llava(root)
    values[0]["text"] = "No"
    table = scores(root, write(root, values[::-1]))
    assert table["perception", "existence accuracy"] == 0.75
    assert table["perception", "existence accuracy+"] == 0.5
    assert table["perception", "existence"] == 125


def test_a_response_of_several_lines_is_read_and_an_unreadable_one_is_counted(root: Path) -> None:
    benchmark = Mme(root)
    samples = benchmark.samples()
    answers = {s.key: f"{s.reference}\nbecause\tI see it" for s in samples}
    assert benchmark.score(samples, answers)[0].value == 400
    answers[samples[0].key] = "Possibly"
    answers[samples[1].key] = ""
    found = benchmark.score(samples, answers)
    assert found[0].unread == 2
    assert found[0].value == 400 - 200 + 50 + 50
    assert benchmark.details(samples, answers)["existence"] == {"yes": 1, "no": 1, "other": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[1:], r"1 without an answer \(existence/1/Is there a kettle\?\)"),
        (lambda v: v[:-2], r"2 without an answer \(code_reasoning/0020"),
        (lambda v: [*v, v[2]], r"1 answered more than once \(line 9 \(question_id existence/2"),
        (
            lambda v: [{**v[0], "prompt": "Is there a cup?"}, *v[1:]],
            r"1 without an answer .*1 to another question than their key says \(line 1",
        ),
        (
            lambda v: [{**v[0], "question_id": "existence/9.jpg"}, *v[1:]],
            r"1 without an answer .*1 answered but unknown \(line 1 \(question_id existence/9",
        ),
    ],
)
def test_what_does_not_fit_is_counted_and_named(root: Path, change: Any, message: str) -> None:
    path = write(root, change(llava(root)))
    with pytest.raises(DataError, match=message):
        scores(root, path)


def test_ids_alone_are_no_key(root: Path) -> None:
    values = [{"question_id": line["question_id"], "text": "yes"} for line in llava(root)]
    with pytest.raises(DataError, match="one id"):
        scores(root, write(root, values))


# -- the official tool's results -------------------------------------------------------------


def small_results(root: Path, ending: str = "\n", last: str = "\n") -> Path:
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    lines: dict[str, list[str]] = {}
    for (subtask, image), questions in RELEASE.items():
        stem = image.removeprefix("images/").rpartition(".")[0]
        for question, end, truth in questions:
            line = f"{stem}.txt\t{question} {end}\t{truth}\t{truth}"
            lines.setdefault(subtask, []).append(line)
    for subtask, of_subtask in lines.items():
        text = ending.join(of_subtask) + last
        (folder / f"{subtask}.txt").write_bytes(text.encode())
    return folder


@pytest.mark.parametrize(("ending", "last"), [("\n", "\n"), ("\n", ""), ("\r\n", "\r\n")])
def test_results_are_read_with_and_without_line_ends(root: Path, ending: str, last: str) -> None:
    table = scores(root, small_results(root, ending, last))
    assert (table["perception", "all"], table["cognition", "all"]) == (400, 200)


def test_results_need_not_pair_adjacent_lines(root: Path) -> None:
    path = small_results(root) / "existence.txt"
    a, b, c, d = path.read_text().splitlines()
    path.write_text("\n".join([a.replace("\tYes\tYes", "\tYes\tNo"), c, b, d]) + "\n")
    assert scores(root, path.parent)["perception", "existence"] == 125


def test_a_missing_line_of_the_results_is_named(root: Path) -> None:
    path = small_results(root) / "existence.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=r"1 without.*existence/1/Is there a kettle"):
        scores(root, path.parent)
    table = scores(root, path.parent, partial=True)
    assert table["perception", "existence"] == 200, "the lone question counts for accuracy alone"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tYes\tYes", "\tYes\tYes\nit is there", r"existence\.txt, line 2 has 1 fields"),
        ("\tYes\tYes", "\tYes\tYes\tsure", r"existence\.txt, line 1 has 5 fields"),
        ("\tYes\tYes", "\tMaybe\tYes", r"line 1 has 4 fields .*the third Yes or No"),
        ("\tYes\tYes", "\tYes", "line 1 has 3 fields .* a response is missing"),
        ("\tYes\tYes", "\tNo\tYes", "1 to another question than their key says"),
    ],
)
def test_a_broken_line_of_the_results_is_named(
    root: Path, old: str, new: str, message: str
) -> None:
    path = small_results(root) / "existence.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        scores(root, path.parent)


def test_empty_responses_are_neither_yes_nor_no(root: Path) -> None:
    path = small_results(root) / "existence.txt"
    path.write_text(path.read_text().replace("\tYes\tYes", "\tYes\t").replace("\tNo\tNo", "\tNo\t"))
    assert scores(root, path.parent)["perception", "existence"] == 0


def whole_results(folder: Path, seed: int = 0) -> Path:
    """Results of all 2374 questions, as the official tool reads them, with random responses."""
    draw = random.Random(seed)
    said = ["Yes", "No", "yes, it is", "No.", "not sure", "Maybe", " yes", ""]
    folder.mkdir(parents=True)
    for subtask, count in QUESTIONS.items():
        lines = []
        for number in range(count // 2):
            for question, truth in (("Is it one?", "Yes"), ("Is it two?", "No")):
                text = draw.choice([*said, truth, truth, truth])
                lines.append(
                    f"{number:04}.jpg\t{question} Please answer yes or no.\t{truth}\t{text}"
                )
        (folder / f"{subtask}.txt").write_text("\n".join(lines) + "\n")
    return folder


def by_adjacent_lines(folder: Path, subtasks: dict[str, int]) -> float:
    """The points as the official tool counts them, by pairs of lines beside each other."""
    total = 0.0
    for subtask in subtasks:
        right = []
        for line in (folder / f"{subtask}.txt").read_text().splitlines():
            truth, text = (field.lower() for field in line.split("\t")[2:])
            start = text[:4]
            read = "yes" if "yes" in start else "no" if "no" in start else "other"
            right.append(read == truth)
        pairs = [a and b for a, b in zip(right[::2], right[1::2], strict=True)]
        total += 100 * sum(right) / len(right) + 100 * sum(pairs) / len(pairs)
    return total


def test_a_whole_folder_of_results_needs_no_other_data(tmp_path: Path) -> None:
    folder = whole_results(tmp_path / "Your_Results")
    table = scores(folder, folder)
    assert table["perception", "all"] == pytest.approx(by_adjacent_lines(folder, PERCEPTION))
    both = by_adjacent_lines(folder, QUESTIONS)
    assert table["perception and cognition", "all"] == pytest.approx(both)


def test_a_truncated_folder_of_results_is_held_to_the_release(tmp_path: Path) -> None:
    folder = whole_results(tmp_path / "results")
    path = folder / "artwork.txt"
    kept = path.read_text().splitlines()
    # An even number of lost lines: the official tool would give a plausible score.
    path.write_text("\n".join(kept[1:-1]) + "\n")
    message = r"2 without an answer \(artwork: 399 of 400, artwork: 400 of 400\); 2372 questions"
    with pytest.raises(DataError, match=message):
        scores(folder, folder)
    assert 0 < scores(folder, folder, partial=True)["perception", "all"] < 2000
    path.write_text("\n".join([kept[2], *kept[1:]]) + "\n")
    with pytest.raises(DataError, match=r"1 without.*1 answered"):
        scores(folder, folder)
    path.write_text("\n".join([kept[0].replace("0000.jpg", "0009x.jpg"), *kept[1:]]) + "\n")
    with pytest.raises(DataError, match=r"2 to another.*0009x"):
        scores(folder, folder)
    path.unlink()
    with pytest.raises(DataError, match="400 without"):
        scores(folder, folder)


def test_llavas_questions_alone_hold_a_folder_of_results_to_their_set(root: Path) -> None:
    results = small_results(root)
    (root / "mme" / "images").unlink()
    (root / "mme" / "MME_Benchmark_release_version").rename(root / "away")
    assert scores(root, results)["perception", "all"] == 400
    path = results / "existence.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0].replace("kettle", "cup")]) + "\n")
    with pytest.raises(DataError, match=r"1 without.*kettle.*1 .*unknown"):
        scores(root, results)


def test_the_template_of_the_official_tool_holds_right_answers(root: Path) -> None:
    results = small_results(root)
    (root / "mme" / "images").unlink()
    (root / "mme" / "MME_Benchmark_release_version").rename(root / "away")
    template = root / "mme" / "eval_tool" / "Your_Results"
    template.mkdir(parents=True)
    for path in results.iterdir():
        text = "\n".join(line.rpartition("\t")[0] for line in path.read_text().splitlines())
        (template / path.name).write_text(text)
    assert scores(root, write(root, llava(root)))["perception", "all"] == 400
    with pytest.raises(DataError, match=r"(?s)line 1.* 3 fields.*template"):
        scores(root, template)


def test_results_of_another_model_hold_right_answers_for_lines(root: Path) -> None:
    results = small_results(root)
    (root / "mme" / "images").unlink()
    (root / "mme" / "MME_Benchmark_release_version").rename(root / "away")
    (root / "mme" / "eval_tool" / "answers").mkdir(parents=True)
    results.rename(root / "mme" / "eval_tool" / "answers" / "other-model")
    assert scores(root, write(root, llava(root)))["perception", "all"] == 400


# -- data ------------------------------------------------------------------------------------


def test_the_folder_may_be_the_release(root: Path) -> None:
    inside = "mme/MME_Benchmark_release_version"
    samples = Mme(root / inside).samples()
    assert len(samples) == 8
    assert {s.split for s in samples} == {"perception", "cognition"}
    assert scores(root / inside, write(root, llava(root)))["perception", "all"] == 400


def test_llavas_folder_is_found_by_its_name(root: Path) -> None:
    (root / "mme").rename(root / "MME")
    benchmark = Mme(root)
    assert len(benchmark.samples()) == 8
    assert all(file.path.exists() for file in benchmark.files())


def test_prompts_are_llavas_and_pictures_are_found_in_both_layouts(root: Path) -> None:
    asked = [json.loads(s) for s in (root / "mme" / "llava_mme.jsonl").read_text().splitlines()]
    benchmark = Mme(root)
    with_file = benchmark.samples()
    assert [benchmark.prompt(s) for s in with_file] == [line["text"] for line in asked]
    (root / "mme" / "llava_mme.jsonl").unlink()
    for line in asked:
        (root / "mme" / "images" / line["image"]).parent.mkdir(exist_ok=True)
        (root / "mme" / "images" / line["image"]).touch()
    benchmark = Mme(root)
    without = {s.key: s for s in benchmark.samples()}
    for sample in with_file:
        assert without[sample.key].meta == sample.meta
        assert sample.image is not None
        assert sample.image.exists()
        assert without[sample.key].image == sample.image


def test_answers_of_the_split_that_is_not_scored_are_set_aside(root: Path) -> None:
    benchmark = Mme(root)
    samples = benchmark.samples(splits=["perception"])
    for path in (write(root, llava(root)), small_results(root)):
        joined = benchmark.join(path, samples)
        assert (joined.complete, joined.aside, len(joined.answers)) == (True, 2, 6)


def test_a_release_that_is_cut_short_is_refused(root: Path) -> None:
    release = root / "mme" / "MME_Benchmark_release_version"
    path = release / "existence" / "1.txt"
    text = path.read_text()
    path.write_text(text.splitlines()[0])
    with pytest.raises(DataError, match=r"1\.txt.* 1 .* 2"):
        Mme(root).samples()
    path.write_text(text.replace("\tNo", " No"))
    with pytest.raises(DataError, match="Yes or No"):
        Mme(root).samples()
    path.unlink()
    with pytest.raises(DataError, match=r"2 of 8.*llava_mme\.jsonl"):
        Mme(root).samples()


def test_a_release_without_a_split_can_be_asked_the_other(root: Path) -> None:
    shutil.rmtree(root / "mme" / "images" / "code_reasoning")
    with pytest.raises(DataError, match="2 of 8"):
        Mme(root).samples()
    assert len(Mme(root).samples(splits=["perception"])) == 6


def test_data_without_right_answers_say_so(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"right answers.*MME"):
        Mme(root / "empty").samples()
    with pytest.raises(DataError, match=r"results.*MME"):
        scores(root, root / "empty")


@needs_pairs
def test_the_samples_of_the_formats_load() -> None:
    benchmark = Mme(REAL_PAIRS / "schema_samples")
    samples = benchmark.samples()
    answers = REAL_PAIRS / "schema_samples" / "mme" / "answers" / "sample-model.jsonl"
    found = benchmark.score(samples, benchmark.read_answers(answers, samples))
    assert found[0].value == 250
    assert benchmark.protocol_facts()["notes"] == [
        "4 of MME's 2374 questions: not the whole benchmark"
    ]
