"""The verb `score`: what it prints, what it refuses, and that it loads no model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_pairs import REAL_PAIRS, needs_pairs
from typer.testing import CliRunner

from hydra_mobile.cli.main import app

SUFFIX = "\nAnswer the question using a single word or phrase."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three questions of GQA."""
    kinds = {"1": ("query", "cup"), "2": ("verify", "yes"), "3": ("verify", "no")}
    questions = {
        number: {
            "question": f"Number {number}?",
            "answer": answer,
            "imageId": f"n{number}",
            "isBalanced": True,
            "groups": {"global": None, "local": None},
            "types": {"structural": kind, "semantic": "obj"},
            "semantic": [],
        }
        for number, (kind, answer) in kinds.items()
    }
    (tmp_path / "testdev_balanced_questions.json").write_text(json.dumps(questions))
    return tmp_path


def answers(data: Path, said: dict[str, str]) -> Path:
    path = data / "model.jsonl"
    lines = [
        {"question_id": n, "prompt": f"Number {n}?{SUFFIX}", "text": text}
        for n, text in said.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def score(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.stderr


def as_json(*arguments: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(score(*arguments, "--json"))["result"]
    return value


def test_the_table_begins_with_the_headline(data: Path) -> None:
    path = answers(data, {"1": "Cup", "2": "Yes", "3": "Yes"})
    lines = score("gqa", "--answers", path, "--data", data).splitlines()
    assert lines[0].startswith("gqa: 66.67 (95% interval ")
    assert any("3 of 3" in line and "model.jsonl" in line for line in lines)
    assert "data: testdev_balanced_questions.json (3)" in lines
    assert any(line.split()[:3] == ["all", "binary", "50.00"] for line in lines)
    assert not any("INCOMPLETE" in line for line in lines)


def test_json_holds_every_number_and_the_protocol(data: Path) -> None:
    path = answers(data, {"1": "Cup", "2": "Yes", "3": "Yes"})
    value = as_json("gqa", "--answers", path, "--data", data)
    assert value["complete"] is True
    assert value["headline"]["percent"] == pytest.approx(200 / 3)
    assert {"name", "kind", "value", "low", "high", "n", "unit"} <= set(value["scores"][0])
    assert value["protocol"]["protocol"] == "llava-1.5"
    assert value["details"]["correct"] == 2


def test_an_incomplete_run_is_refused_unless_that_is_asked_for(data: Path) -> None:
    path = answers(data, {"1": "Cup", "2": "Yes", "9": "Yes"})
    assert re.search(
        r"1 without an answer \(3\); 1 answered but unknown",
        refused("gqa", "--answers", path, "--data", data),
    )
    lines = score("gqa", "--answers", path, "--data", data, "--allow-partial").splitlines()
    assert lines[0].startswith("gqa: 100.00")
    assert lines[1].startswith("INCOMPLETE: 1 without an answer (3); 1 answered but unknown")
    value = as_json("gqa", "--answers", path, "--data", data, "--allow-partial")
    assert (value["complete"], value["questions"], value["answered"]) == (False, 3, 2)
    assert value["problems"]["missing"] == {"count": 1, "first": ["3"]}
    assert value["problems"]["unknown"]["count"] == 1


def test_refusals_exit_with_a_message_and_no_traceback(data: Path) -> None:
    command = [sys.executable, "-m", "hydra_mobile", "score", "gqa", "--data", str(data)]
    path = answers(data, {"1": "Cup"})
    done = subprocess.run([*command, "--answers", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: model.jsonl: answers and questions do not match: 2 ")
    assert "--allow-partial" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_model_is_loaded(data: Path) -> None:
    path = answers(data, {"1": "Cup", "2": "Yes", "3": "No"})
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hydra_mobile.evaluation.results.score_file import score_answers\n"
        f"score_answers('gqa', Path({str(path)!r}), Path({str(data)!r}))\n"
        "print([name for name in ('torch', 'transformers', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_that_fits_is_no_score_even_then(data: Path) -> None:
    path = answers(data, {"8": "Cup"})
    assert re.search(
        "3 without an answer", refused("gqa", "--answers", path, "--data", data, "--allow-partial")
    )


def test_wrong_arguments_are_named(data: Path) -> None:
    path = answers(data, {"1": "Cup"})
    assert re.search(
        r"(?s)`gpa` is not a benchmark.*`gqa`", refused("gpa", "--answers", path, "--data", data)
    )
    assert re.search(r"(?s)no folder of benchmark data.*--data", refused("gqa", "--answers", path))
    assert re.search(
        r"there is no .*none\.jsonl",
        refused("gqa", "--answers", data / "none.jsonl", "--data", data),
    )
    assert re.search(
        "no protocol `other`",
        refused("gqa", "--answers", path, "--data", data, "--protocol", "other"),
    )


def test_our_own_answers_are_joined_by_their_keys(data: Path) -> None:
    folder = data / "evaluated"
    folder.mkdir()
    lines = [{"key": n, "text": t, "ids": []} for n, t in (("3", "no"), ("1", "cup"), ("2", "a"))]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in (folder, folder / "answers.jsonl"):
        value = as_json("gqa", "--answers", path, "--data", data)
        assert value["headline"]["percent"] == pytest.approx(200 / 3)


def test_a_folder_of_mme_needs_no_data(tmp_path: Path) -> None:
    folder = tmp_path / "Your_Results"
    folder.mkdir()
    line = "1.jpg\tIs it {}? Please answer yes or no.\t{}\t{}\n"
    text = line.format("so", "Yes", "Yes") + line.format("not so", "No", "Yes")
    (folder / "count.txt").write_text(text)
    assert re.search("2372 without an answer", refused("mme", "--answers", folder))
    lines = score("mme", "--answers", folder, "--allow-partial").splitlines()
    assert lines[0].startswith("mme perception: 50.00 (")
    assert lines[1].startswith("INCOMPLETE: 2372 without an answer (existence: 1 of 60, ")


@needs_pairs
@pytest.mark.parametrize(
    ("benchmark", "answers_file", "percent"),
    [
        ("pope", "pope/answers/llava-v1.5-13b.jsonl", 85.94688090539114),
        ("gqa", "gqa_ood/answers/llava-v1.5-13b.subset.jsonl", 58.798283261802574),
        ("textvqa", "textvqa/answers/llava-v1.5-13b.jsonl", 61.254),
    ],
)
def test_the_known_scores_come_out_of_the_verb(
    benchmark: str, answers_file: str, percent: float
) -> None:
    value = as_json(benchmark, "--answers", REAL_PAIRS / answers_file, "--data", REAL_PAIRS)
    assert value["headline"]["percent"] == pytest.approx(percent, abs=1e-6)
