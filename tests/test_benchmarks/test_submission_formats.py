import json
from pathlib import Path

import pytest
from benchmark_tree import PICTURES, SIX, Layout, build_tree, right_answers

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.shared.submission_formats import file_name, llava_line, one_line
from hydra_mobile.benchmarks.shared.xlsx import read_sheet


@pytest.fixture(scope="module", params=["mobilevlm", "llava"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout: Layout = request.param
    return build_tree(tmp_path_factory.mktemp(layout), PICTURES, layout=layout)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("llava"), PICTURES, layout="llava")


def made(name: str, data: Path) -> Benchmark:
    protocol = "mobilevlm" if data.name.startswith("mobilevlm") else "llava-1.5"
    return Benchmark.open(name, data, protocol)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize("name", SIX)
def test_both_layouts_are_read_with_their_pictures(name: str, tree: Path) -> None:
    benchmark = made(name, tree)
    samples = benchmark.samples()
    assert 12 <= len(samples) <= 14
    assert len({sample.key for sample in samples}) == len(samples)
    for sample in samples:
        if sample.image is not None:
            assert sample.image.exists()
            assert sample.image.open().size == (20, 12)
    headlines = [s for s in benchmark.score(samples, right_answers(samples)) if s.headline]
    # Existence, posters and OCR are perception: 200 points each.
    assert [score.value for score in headlines] == [600.0 if name == "mme" else 1.0]


def test_lines_are_llavas_field_by_field(llava: Path, tmp_path: Path) -> None:
    usual = ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]
    for name in SIX:
        benchmark = made(name, llava)
        samples = benchmark.samples()
        files = benchmark.write_submission(samples, right_answers(samples), tmp_path / name, "m")
        fields = list(lines(files[0])[0])
        if name == "mmbench":
            assert fields == [
                "question_id", "round_id", "prompt", "text", "options", "option_char",
                "answer_id", "model_id", "metadata",
            ]  # fmt: skip
        else:
            assert fields == usual, name


def test_ids_and_prompts_are_those_of_llavas_questions(llava: Path, tmp_path: Path) -> None:
    for name, folder in (("pope", "pope"), ("mme", "MME"), ("gqa", "gqa"), ("textvqa", "textvqa")):
        benchmark = made(name, llava)
        samples = benchmark.samples()
        files = benchmark.write_submission(samples, right_answers(samples), tmp_path / name, "m")
        asked = lines(next((llava / folder).glob("llava_*.jsonl")))
        wanted = {(line["question_id"], line["text"]) for line in asked}
        assert {(line["question_id"], line["prompt"]) for line in lines(files[0])} == wanted, name


def test_the_workbook_has_llavas_columns_in_order(llava: Path, tmp_path: Path) -> None:
    benchmark = made("mmbench", llava)
    samples = benchmark.samples()
    answers = right_answers(samples)
    del answers[samples[0].key]
    files = benchmark.write_submission(samples, answers, tmp_path, "m")
    assert files[1] == tmp_path / "mmbench_dev_20230712" / "m.xlsx"
    header, *rows = read_sheet(files[1])
    assert header == ["index", "question", "A", "B", "C", "D", "prediction", "answer", "split"]
    assert [int(row[0]) for row in rows] == sorted(int(sample.key) for sample in samples)
    empty = next(row for row in rows if row[0] == samples[0].key)
    assert empty[6:] == ["", samples[0].reference, "dev"]


def test_mmes_folder_holds_whole_pairs_only(llava: Path, tmp_path: Path) -> None:
    benchmark = made("mme", llava)
    samples = benchmark.samples()
    answers = dict.fromkeys((sample.key for sample in samples), "Yes,\nit\tis")
    left_out = next(sample for sample in samples if sample.kind == "existence")
    del answers[left_out.key]
    files = benchmark.write_submission(samples, answers, tmp_path, "m")
    texts = {file.stem: file.read_text() for file in files if file.suffix == ".txt"}
    assert sorted(texts) == ["OCR", "code_reasoning", "existence", "posters"]
    # Two pictures of `existence`, one of which lost an answer.
    assert texts["existence"].count("\n") == 2
    first, second = texts["posters"].splitlines()[:2]
    assert first.split("\t") == [
        "0001.jpg", "Is this picture 1? Please answer yes or no.", "Yes", "Yes, it is",
    ]  # fmt: skip
    assert second.split("\t")[2:] == ["No", "Yes, it is"]


def test_popes_official_files_are_written_for_whole_splits_in_order(
    llava: Path, tmp_path: Path
) -> None:
    benchmark = made("pope", llava)
    samples = benchmark.samples()
    answers = right_answers(samples)
    del answers[next(sample.key for sample in samples if sample.split == "popular")]
    files = benchmark.write_submission(samples, answers, tmp_path, "m")
    assert [file.name for file in files] == ["m.jsonl", "m_random.json", "m_adversarial.json"]
    official = lines(llava / "pope" / "coco" / "coco_pope_random.json")
    written = lines(files[1])
    assert [line["question"] for line in written] == [line["text"] for line in official]
    assert [line["answer"] for line in written] == [line["label"] for line in official]
    found = benchmark.samples(splits=["random"])
    assert benchmark.read_answers(files[1], found) == right_answers(found)


def test_official_lists_have_their_fields(llava: Path, tmp_path: Path) -> None:
    gqa = made("gqa", llava)
    samples = gqa.samples()
    answers = dict.fromkeys((sample.key for sample in samples), "Blue.")
    files = gqa.write_submission(samples, answers, tmp_path, "m")
    assert json.loads(files[1].read_text())[0] == {"questionId": "20000000", "prediction": "blue"}
    textvqa = made("textvqa", llava)
    samples = textvqa.samples()
    files = textvqa.write_submission(samples, right_answers(samples), tmp_path, "m")
    assert json.loads(files[1].read_text())[0] == {"question_id": 34602, "answer": "stop0"}
    scienceqa = made("scienceqa", llava)
    samples = scienceqa.samples()
    answers = right_answers(samples) | {samples[0].key: "E", samples[1].key: "none"}
    files = scienceqa.write_submission(samples, answers, tmp_path, "m")
    output, result = (json.loads(file.read_text()) for file in files[1:])
    assert [entry["question_id"] for entry in output["incorrect"]] == ["5", "6"]
    assert output["incorrect"][0]["is_multimodal"] is True
    assert (result["correct"], result["count"]) == (len(samples) - 2, len(samples))
    assert [result["results"][key] for key in ("5", "6", "7")] == [-1, -1, 2]


def test_small_things() -> None:
    assert file_name("some model/v1.5", ".jsonl") == "some_model_v1.5.jsonl"
    assert file_name("../", ".xlsx") == "model.xlsx"
    assert one_line("a\r\nb\tc\u2028d") == "a  b c d"
    assert llava_line(1, "p", "t", "m") == llava_line(1, "p", "t", "m")
    assert llava_line(1, "p", "t", "m")["answer_id"] != llava_line(2, "p", "t", "m")["answer_id"]
