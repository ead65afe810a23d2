import json
from pathlib import Path

import pytest
from benchmark_tree import SIX, build_tree
from PIL import Image
from typer.testing import CliRunner

from hydra_mobile.benchmarks.checks.check import check_benchmark
from hydra_mobile.benchmarks.checks.report import check_lines, verdict
from hydra_mobile.cli.main import app

PICTURES = [Image.new("RGB", (20, 12), color) for color in ("red", "green", "blue")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return build_tree(tmp_path / "data", PICTURES, layout="llava")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["benchmarks", "check", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("name", SIX)
def test_a_whole_folder_is_ready(name: str, tree: Path) -> None:
    check = check_benchmark(name, tree, pictures="all")
    assert check.can_ask
    assert check.can_score
    assert check.answered == sum(check.questions.values()) >= 12
    assert check.opened == check.pictures > 1
    assert all(file.found and not file.problem for file in check.files)
    assert verdict(check) == f"{name}: ready to evaluate and to score"


def test_all_six_are_checked_at_once_and_written_down(tree: Path) -> None:
    code, output = run("all", "--data", tree)
    assert code == 0
    assert output.count(": ready to evaluate and to score") == 6
    written = json.loads(run("all", "--data", tree, "--json", "-q")[1])["result"]["checks"]
    assert [check["benchmark"] for check in written] == list(SIX)
    assert all(check["can_ask"] for check in written)
    # Counts are held against those of the releases.
    assert "llava_pope_test.jsonl" in output
    assert "8,910" in output


def test_a_missing_file_is_named_and_makes_it_not_ready(tree: Path) -> None:
    (tree / "pope" / "coco" / "coco_pope_popular.json").unlink()
    code, output = run("pope", "--data", tree)
    assert code == 3
    assert "MISSING     pope/coco/coco_pope_popular.json" in output
    assert "found       pope/coco/coco_pope_random.json" in output
    assert "pope: not ready" in output


def test_missing_pictures_leave_it_ready_to_score(tree: Path) -> None:
    gone = sorted((tree / "textvqa" / "train_images").glob("*.jpg"))[:4]
    for path in gone:
        path.unlink()
    check = check_benchmark("textvqa", tree)
    assert check.missing_pictures == tuple(f"textvqa/train_images/{path.name}" for path in gone)
    assert (check.can_score, check.can_ask) == (True, False)
    lines = list(check_lines(check))
    assert lines[-1] == (
        "textvqa: ready to score existing answers, not to evaluate: 4 of 8 images missing"
    )
    assert any("and 1 more" in line and gone[2].name in line for line in lines)
    assert run("textvqa", "--data", tree)[0] == 3


def test_a_broken_picture_is_found_by_opening_it(tree: Path) -> None:
    path = tree / "MME" / "MME_Benchmark_release_version" / "OCR" / "0003.jpg"
    path.write_bytes(path.read_bytes()[:200])
    check = check_benchmark("mme", tree, pictures="all")
    assert len(check.bad_pictures) == 1
    assert "0003.jpg" in check.bad_pictures[0]
    assert not check.can_ask
    assert "1 images broken" in verdict(check)
    assert check_benchmark("mme", tree, pictures="none").can_ask


def test_a_file_that_cannot_be_read_is_told_from_a_missing_one(tree: Path) -> None:
    path = tree / "scienceqa" / "problems.json"
    path.write_text(path.read_text()[:-20])
    check = check_benchmark("scienceqa", tree)
    problems = next(file for file in check.files if file.path == "scienceqa/problems.json")
    assert problems.found
    assert "not readable JSON" in problems.problem
    assert verdict(check) == "scienceqa: not ready: scienceqa/problems.json cannot be read"


def test_a_table_cut_short_is_not_ready(tree: Path) -> None:
    path = tree / "mmbench" / "mmbench_dev_20230712.tsv"
    path.write_bytes(path.read_bytes()[:-300])
    check = check_benchmark("mmbench", tree)
    assert not check.can_score
    assert "record 14 has" in check.files[0].problem


def test_prompts_that_cannot_be_made_are_counted(tree: Path) -> None:
    (tree / "textvqa" / "llava_textvqa_val_v051_ocr.jsonl").unlink()
    check = check_benchmark("textvqa", tree)
    assert (check.can_score, check.can_ask) == (True, False)
    assert "34602" in check.problems[0]
    assert "12 questions" in check.problems[1]
    assert "--protocol llava-1.5-no-ocr" in check.problems[1]
    assert check_benchmark("textvqa", tree, protocol="llava-1.5-no-ocr").can_ask


def test_a_test_split_is_ready_for_a_submission_only(tree: Path) -> None:
    path = tree / "textvqa" / "TextVQA_0.5.1_val.json"
    value = json.loads(path.read_text())
    for entry in value["data"]:
        del entry["answers"]
    path.write_text(json.dumps(value))
    check = check_benchmark("textvqa", tree)
    assert (check.can_score, check.can_ask, check.answered) == (False, True, 0)
    assert "submission" in verdict(check)


def test_wrong_names_are_told_with_the_right_ones(tree: Path) -> None:
    for arguments, needles in (
        (("popes", "--data", tree), ("`popes`", "`pope`")),
        (("pope", "--data", tree / "nowhere"), ("--data", "nowhere")),
        (("mme", "--data", tree, "--protocol", "llava-1.5-no-ocr"), ("mme", "protocol")),
    ):
        code, output = run(*arguments)
        assert code == 2
        assert all(needle in output for needle in needles)
