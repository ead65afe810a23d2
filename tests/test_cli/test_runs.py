"""`hydra-mobile runs`: losses, ranks and sizes of runs, and their curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def make_run(folder: Path, losses: list[float], held_out: list[float] | None, done: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "config.yaml").write_text("base: smol\nranks: {policy: hydra}\nstage2: {steps: 40}\n")
    lines = [
        {"stage": "stage2", "step": 10 * number, "loss": loss}
        | ({"validation_loss": held_out[number - 1]} if held_out else {})
        for number, loss in enumerate(losses, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "rank_map.json").write_text(json.dumps({"a.q": 8, "a.v": 20}))
    if done:
        (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = make_run(Path("runs") / "one", [3.0, 2.0, 1.5, 1.0], [3.1, 2.1, 1.7, 1.9], True)
    two = make_run(Path("runs") / "two", [3.0, 2.5, 2.0], [3.2, 2.6, 2.2], False)
    return one, two


def test_the_list_has_losses_ranks_and_sizes(runs, run_verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, out, err = run_verb("runs", "list", runs[0].parent)
    assert code == 0
    line = next(line for line in out.splitlines() if "one" in line)
    for word in ("done", "40/40", "1.000", "1.700", "8-20", "bytes", "hydra"):
        assert word in line, (word, line)
    assert f"hydra-mobile runs plot {runs[0]} {runs[1]}" in err
    code, out, _ = run_verb("runs", "list", runs[0].parent, "--json")
    first = json.loads(out)["result"]["runs"][0]
    assert (first["held_out"], first["ranks"]) == (1.7, [8, 20])


def test_curves_are_beside_each_other_in_text_and_in_a_plot(runs, run_verb, tmp_path):
    file = tmp_path / "plot.svg"
    code, out, _ = run_verb("runs", "plot", *runs, "--out", file)
    assert code == 0
    assert out.startswith("Held-out loss")
    assert "best 1.700 at 30, last 1.900" in out
    assert "best 2.200 at 30" in out
    drawn = [line for line in out.splitlines() if "│" in line or "┤" in line]
    assert sum(line.count("o") for line in drawn) == 4
    text = file.read_text()
    assert text.startswith("<svg")
    assert text.count("<polyline") == 4
    assert str(runs[1]) in text


def test_without_validation_it_is_the_training_loss(runs, run_verb, tmp_path):
    three = make_run(tmp_path / "runs" / "three", [4.0, 2.0], None, True)
    code, out, _ = run_verb("runs", "plot", runs[0], three, "--out", tmp_path / "p.svg", "--json")
    result = json.loads(out)["result"]
    assert code == 0
    assert not result["held_out"]
    assert result["series"][str(three)] == [[10, 4.0], [20, 2.0]]


def test_what_is_no_run_or_has_no_step_is_named(runs, run_verb, tmp_path):
    code, _, err = run_verb("runs", "plot", runs[0], tmp_path / "nothing")
    assert code == 2
    assert "nothing" in err
    empty = make_run(tmp_path / "runs" / "empty", [], None, False)
    code, _, err = run_verb("runs", "plot", empty, "--out", tmp_path / "p.svg")
    assert code == 2
    assert "empty" in err


STEP = {"stage": "stage2", "step": 10, "steps": 40, "loss": 1.5}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.jsonl", b"\xff\xfe\n"),
        ("metrics.jsonl", b"[" * 100_000),
        *(
            ("metrics.jsonl", json.dumps({**STEP, key: value}).encode())
            for key in ("step", "loss", "validation_loss", "stage")
            for value in ("x", None, float("nan"))
        ),
        ("config.yaml", b"[1, 2]"),
        ("config.yaml", b"a: [\x00"),
        ("config.yaml", b"stage2: [1]\nranks: x\nbase: [[1]]"),
        ("config.yaml", b"a: &a [1,1,1,1,1,1,1,1,1]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9))
            for n in range(8)
        ) + b"base: *i"),
        ("rank_map.json", b"[1]"),
        ("rank_map.json", b'{"ranks": {"a": "x"}}'),
    ],
)  # fmt: skip
def test_a_damaged_run_hides_no_other(runs, run_verb, file, content):
    (runs[1] / file).write_bytes(content)
    for words in (("list", "runs"), ("list", "runs", "--json"), ("show", runs[1])):
        code, out, err = run_verb("runs", *words)
        assert code == 0, (words, err)
        assert len(out) < 12_000, words
        assert words[0] == "show" or "one" in out
    code, out, err = run_verb("runs", "plot", *runs, "--out", "p.svg")
    assert code in (0, 2), err
    assert code == 0 or "two" in err
