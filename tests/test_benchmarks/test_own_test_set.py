"""A test set of one's own: read from a file, refused line by line, evaluated like the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import hydra_mobile as hm
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import DataError, HydraError


def made(folder: Path, *lines: dict[str, Any]) -> Path:
    Image.new("RGB", (20, 12), "red").save(folder / "red.png")
    Image.new("RGB", (20, 12), "blue").save(folder / "blue.png")
    path = folder / "my_test.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


LINES: tuple[dict[str, Any], ...] = (
    {"question": "What color?", "image": "red.png", "answer": "red"},
    {"question": "Which sign?", "picture": "blue.png", "answers": ["stop", "stop sign"]},
    {"question": "How much?", "image": "red.png", "answer": 12.5, "score": "relaxed"},
    {"text": "Which?", "image": "red.png", "choices": ["blue", "red"], "answer": "red"},
    {"question": "Red?", "image": "red.png", "answer": "Yes", "score": "yesno", "kind": "check"},
    {"question": "Without a picture?", "answer": "yes", "id": "last", "score": "contains"},
)


def test_each_question_is_scored_as_it_says(tmp_path: Path) -> None:
    benchmark = Benchmark.open(f"{made(tmp_path, *LINES)}:anls", Path())
    samples = benchmark.samples()
    assert {s.key: s.reference for s in samples} == {
        "line-1": "red", "line-2": "stop", "line-3": "12.5", "line-4": "B", "line-5": "yes",
        "last": "yes",
    }  # fmt: skip
    said = {
        "line-1": "rod", "line-2": "stop-sign", "line-3": "12", "line-4": "The answer is B",
        "line-5": "Yes.", "last": "I say yes to it",
    }  # fmt: skip
    # rod for red: 2/3; one character of "stop sign": 8/9; 12 for 12.5: within 5%.
    by_hand = {"line-1": 2 / 3, "line-2": 8 / 9, "line-3": 1, "line-4": 1, "line-5": 1, "last": 1}
    credits = {s.key: benchmark.credit(s, said[s.key]) for s in samples}
    assert credits == pytest.approx(by_hand)
    whole, *kinds = benchmark.score(samples, said)
    assert whole.value == pytest.approx(sum(by_hand.values()) / 6)
    assert {score.kind: score.n for score in kinds} == {"all": 5, "check": 1}
    (choice,) = [s for s in samples if s.key == "line-4"]
    assert benchmark.prompt(choice) == "Which?\nA. blue\nB. red"


@pytest.mark.parametrize(
    ("line", "found", "expected"),
    [
        ({"image": "red.png", "answer": "red"}, "image, answer", "question"),
        ({"question": "?", "image": "red.png"}, "no answer", "answers"),
        ({"question": " ", "answer": "x"}, "empty", "question"),
        ({"question": "?", "answer": "x", "score": "anl"}, "anl", "score"),
        ({"question": "?", "answer": "green", "choices": ["a", "b"]}, "green", "choices"),
        ({"question": "?", "answer": "A", "choices": ["a"]}, "1 choices", "2"),
        ({"question": "?", "answer": "maybe", "score": "yesno"}, "maybe", "yes or no"),
        ({"question": "?", "answer": "x", "image": ["red.png", "b"]}, "image", "text"),
        ({"question": "?", "answer": {"a": 1}}, "answers", "texts"),
        ({"question": "?", "answer": "x", "id": "line-1"}, "line-1", "id"),
    ],
)
def test_a_wrong_line_is_named_with_what_was_found_and_expected(
    tmp_path: Path, line: dict[str, Any], found: str, expected: str
) -> None:
    path = made(tmp_path, LINES[0], line)
    with pytest.raises(DataError) as caught:
        Benchmark.open(str(path), Path()).samples()
    error = caught.value
    assert error.where.startswith(f"{path}, line 2")
    assert found in error.found
    assert expected in error.expected
    assert error.fix


def test_a_broken_or_empty_file_is_named(tmp_path: Path) -> None:
    path = made(tmp_path)
    with pytest.raises(DataError, match="my_test"):
        Benchmark.open(str(path), Path()).samples()
    path.write_text('{"question": "What')
    with pytest.raises(DataError, match="line 1"):
        Benchmark.open(str(path), Path()).samples()
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        Benchmark.open("gone.jsonl", Path())
    with pytest.raises(HydraError, match="anls"):
        Benchmark.open(f"{path}:anl", Path())


def test_evaluated_and_scored_by_its_file_name(
    tmp_path: Path, tiny_base: Path, in_process: None
) -> None:
    path, out = made(tmp_path, *LINES), tmp_path / "report"
    chosen = ["--benchmarks", str(path), "--score", "contains", "--out", str(out)]
    done = CliRunner().invoke(app, ["evaluate", str(tiny_base), *chosen])
    assert done.exit_code == 0, done.output
    report = hm.Report.open(out)
    assert report.content.titles == {"my_test": "my_test"}
    (run,) = report.content.systems[0].runs
    assert (run.benchmark, run.protocol, run.questions) == ("my_test", "as-written", 6)
    (whole,) = [row for row in report.scores if row["n"] == 6]
    assert whole["low"] <= whole["value"] <= whole["high"]
    answers = next(out.rglob("answers.jsonl"))
    scored = hm.score(f"{path}:contains", answers, tmp_path)
    assert scored.scores[0].value == pytest.approx(whole["value"])
    # Scores of one report are compared with another's by the file in --data.
    both = hm.side_by_side([out], tmp_path / "both", data=tmp_path)
    assert both.content.titles == {"my_test": "my_test"}


def test_the_option_score_needs_a_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "tiny", "--score", "anls"])
    assert done.exit_code == 2
    assert "--score" in done.output
    done = CliRunner().invoke(app, ["evaluate", "tiny", "--benchmarks", str(tmp_path / "x.jsonl")])
    assert done.exit_code == 2
    assert "x.jsonl" in done.output


CLASS = """
from hydra_mobile.benchmarks.items import Item, ItemBenchmark
from hydra_mobile.benchmarks.pictures import FilePicture


class Signs(ItemBenchmark):
    name = "signs"
    title = "Signs"
    about = "what signs say"
    scored_by = "anls"

    def items(self, split):
        folder = self.places.require("signs", what="the photographs")
        for path in sorted(folder.glob("*.png")):
            yield Item("What color?", answers=(path.stem,), image=FilePicture(path))
"""


def test_a_class_in_a_file_is_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "signs").mkdir()
    made(tmp_path / "signs")
    (tmp_path / "signs.py").write_text(CLASS)
    name = f"{tmp_path / 'signs.py'}:Signs"
    benchmark = Benchmark.open(name, tmp_path)
    samples = benchmark.samples()
    assert [s.reference for s in samples] == ["blue", "red"]
    assert benchmark.prompt(samples[0]).endswith("using a single word or phrase.")
    assert type(benchmark) is Benchmark.named(name)
    with pytest.raises(HydraError, match="Signs"):
        Benchmark.named(name.replace(":Signs", ":Sign"))
    with pytest.raises(HydraError, match="no_such_module"):
        Benchmark.named("no_such_module.deep:Signs")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def", "SyntaxError.*line 2|line 2.*SyntaxError"),
        ("raise ValueError('of mine')", "of mine"),
        ("import no_such_thing", "no_such_thing"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_class_in_a_file_that_cannot_be_run_is_told(
    tmp_path: Path, text: str, found: str, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "signs.py").write_text(f"\n{text}\n")
    named = f"{tmp_path / 'signs.py'}:Signs"
    code, _, said = run_verb("benchmarks", "check", named, "--data", tmp_path)
    assert code == 2, said
    said = " ".join(said.split())  # it is wrapped
    assert re.search(rf"signs\.py.*({found})", said, re.DOTALL), said
    assert "line 2" in said


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"question": NaN, "answer": "a"}', "NaN"),
        ('{"question": "q", "answer": 1e400}', "1e400"),
        ('{"question": "\\ud83d", "answer": "a"}', "question"),
        ('{"question": "q", "answer": "\\ud83d"}', "answers"),
        ('{"id": "\\ud83d", "question": "q", "answer": "a"}', "id"),
        ('{"question": "q", "answer": "a", "choices": ["a", "a"]}', "'a', 'a'"),
        ('{"question": "q", "answer": "a", "choices": ["a", " "]}', "' '"),
        ('{"question": "q", "answer": "a", "score": "%s"}' % ("x" * 9000), "score"),
        ('{"answer": {"%s": 1}}' % ("x" * 9000), "question"),
        (json.dumps({str(n): 1 for n in range(9000)}), "question"),
        ('{"question": "q", "answer": %s}' % ("9" * 5000), "line 2"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_what_no_tokenizer_takes_is_told_in_a_short_message(
    tmp_path: Path, line: str, found: str
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"question": "q", "answer": "a"}\n' + line + "\n")
    with pytest.raises(DataError, match=found) as caught:
        Benchmark.open(str(file), tmp_path).samples()
    assert "line 2" in str(caught.value)
    assert len(str(caught.value)) < 700 + len(str(tmp_path))


def test_an_image_whose_name_is_too_long_is_missing(
    tmp_path: Path, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"question": "q", "answer": "a", "image": "%s"}\n' % ("x" * 5000))
    code, out, said = run_verb("benchmarks", "check", file, "--data", tmp_path)
    assert code == 3, said
    assert "missing" in out + said
    assert "name too long" not in said
