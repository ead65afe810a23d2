from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.evaluation.results.report_merge import results_beside
from hydra_mobile.evaluation.results.score_file import score_answers
from hydra_mobile.reporting.results import (
    BenchmarkRun,
    Environment,
    Score,
    Spread,
    SystemResult,
    Timings,
)
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.verdicts import findings
from hydra_mobile.reporting.write import read_report, write_report

MACHINE = Environment("host", "x86_64", "Linux", "3.11")


@pytest.fixture(autouse=True)
def capitals(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "capitals", "test_compare:Capitals")


def answered(folder: Path, name: str, wrong: tuple[int, ...] = (), **run_fields) -> Path:
    """Write a report of one system, with its answers to `capitals`; return its folder."""
    questions = range(run_fields.pop("count", 40))
    lines = [
        json.dumps({"key": f"q{i}", "text": "Paris" if i in wrong else "Rome"}) for i in questions
    ]
    file = folder / "answers" / "capitals.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(lines) + "\n")
    fields = {"facts": {"protocol": "llava-1.5"}, "protocol": "llava-1.5"} | run_fields
    run = BenchmarkRun(
        "capitals", questions=40, answered=40, answers="answers/capitals.jsonl", **fields
    )
    value = 1 - len(wrong) / 40
    score = Score("capitals", "all", "accuracy", value, value - 0.1, value, 40, headline=True)
    system = SystemResult(
        name,
        "torch",
        "fp32",
        role="reference" if name == "torch" else "export",
        scores=(score,),
        runs=(run,),
        timings=Timings(encode=Spread.of([0.1])),
    )
    write_report(Report(1, "2026-10-01T12:00:00Z", name, MACHINE, systems=(system,)), folder)
    return folder


def test_two_reports_and_an_answers_file(tmp_path):
    one = answered(tmp_path / "one", "torch")
    two = answered(tmp_path / "two", "int4", (1, 2))
    file = tmp_path / "llava.jsonl"
    file.write_text("".join(json.dumps({"key": f"q{i}", "text": "Rome"}) + "\n" for i in range(40)))
    scored = tmp_path / "published.json"
    scored.write_text(json.dumps(score_answers("capitals", file, tmp_path).to_dict()))
    made = results_beside([one, two / "report.json", scored], tmp_path / "out")
    assert [system.name for system in made.systems] == ["torch", "int4", "llava (answers)"]
    shown = made.systems[2]
    assert shown.headline("capitals").value == 1.0
    assert shown.timings == Timings()
    assert shown.environment is None
    assert "answers file" in shown.reasons["size_bytes"]
    assert made.title == "one, two, published side by side"
    assert not [f for f in findings(made) if f.status == "warning" and "complete" in f.claim]
    own = score_answers("capitals", one / "answers" / "capitals.jsonl", tmp_path).to_dict()
    scored.write_text(json.dumps(own | {"answers_file": "answers.jsonl"}))
    assert results_beside([scored], tmp_path / "out").systems[0].name == "published (answers)"


def test_data_give_paired_changes_across_reports(tmp_path):
    one = answered(tmp_path / "one", "torch", (0, 1))
    two = answered(tmp_path / "two", "int4", (1, 2, 3))
    made = results_beside([one, two], tmp_path / "out", data=tmp_path)
    (found,) = made.comparisons
    assert (found.system, found.reference, found.n) == ("int4", "torch", 40)
    assert (found.gained, found.lost) == (1, 2)
    assert found.headline.change == pytest.approx(-1 / 40)
    flips = (tmp_path / "out" / found.flips_file).read_text().splitlines()
    assert [json.loads(line)["key"] for line in flips] == ["q0", "q2", "q3"]


def test_what_cannot_be_compared_is_said(tmp_path):
    one = answered(tmp_path / "one", "torch")
    fewer = answered(tmp_path / "fewer", "int4", count=39)
    gone = answered(tmp_path / "gone", "int8")
    (gone / "answers" / "capitals.jsonl").unlink()
    made = results_beside([one, fewer, gone], tmp_path / "out", data=tmp_path)
    assert made.comparisons == ()
    notes = "\n".join(made.notes)
    assert "(q39)" in notes
    assert "answers/capitals.jsonl" in notes


def test_other_protocols_are_compared_with_a_warning(tmp_path):
    one = answered(tmp_path / "one", "torch")
    facts = {"protocol": "mobilevlm", "padding": "none"}
    two = answered(tmp_path / "two", "int4", (1,), facts=facts, protocol="mobilevlm")
    out = tmp_path / "out"
    arguments = ["report", str(one), str(two), "--data", str(tmp_path), "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "! Capitals" in done.output
    made = read_report(out)
    assert made.comparisons[0].warnings == (
        "protocol mobilevlm against llava-1.5",
        "padding none against unknown",
    )
    for name in ("report.json", "report.md", "report.html"):
        assert str(out / name) in done.output
        assert (out / name).stat().st_size > 500


def test_names_differ_by_as_many_parents_as_are_needed(tmp_path):
    first = answered(tmp_path / "a" / "report", "torch")
    second = answered(tmp_path / "b" / "report", "torch")
    made = results_beside([first, second], tmp_path / "out")
    assert [s.name for s in made.systems] == ["torch (a/report)", "torch (b/report)"]
    assert str(tmp_path) not in json.dumps(made.to_dict())


def test_an_older_report_is_read(tmp_path):
    folder = answered(tmp_path / "one", "torch")
    value = json.loads((folder / "report.json").read_text())
    del value["record_sha256"]
    del value["comparisons"], value["systems"][0]["runs"], value["parity"], value["licences"]
    for name in ("unit", "headline", "unread", "majority"):
        del value["systems"][0]["scores"][0][name]
    (folder / "report.json").write_text(json.dumps(value))
    newer = answered(tmp_path / "two", "int4")
    made = results_beside([folder, newer], tmp_path / "out", data=tmp_path)
    told = [f.evidence for f in findings(made) if f.status == "warning"]
    assert len(told) == 1
    assert "protocol not recorded: torch; protocol llava-1.5: int4" in told[0]


def test_what_cannot_be_put_together_is_refused(tmp_path):
    one = answered(tmp_path / "one", "torch")
    with pytest.raises(HydraError, match=r"report\.json.*twice"):
        results_beside([one, one / "report.json"], tmp_path / "out")
    with pytest.raises(HydraError, match="would replace"):
        results_beside([one], one)
    with pytest.raises(ArtifactError, match=r"nowhere.*missing"):
        results_beside([one, tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "odd.json").write_text('{"some": "thing"}')
    with pytest.raises(ArtifactError, match=r"odd\.json.*version"):
        results_beside([tmp_path / "odd.json"], tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("questions"), "KeyError.*questions"),
        (lambda v: v["scores"][0].update(value="high"), "value.*number"),
        (lambda v: v.update(scores=[3]), "TypeError"),
    ],
)
def test_a_damaged_score_file_is_named(tmp_path, change, message):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"key": f"q{i}", "text": "Rome"}) + "\n" for i in range(40)))
    value = score_answers("capitals", file, tmp_path).to_dict()
    change(value)
    (tmp_path / "s.json").write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=rf"(?s)s\.json.*{message}"):
        results_beside([tmp_path / "s.json"], tmp_path / "out")


def test_a_report_stays_what_it_was(tmp_path):
    one = answered(tmp_path / "one", "torch")
    before = read_report(one)
    results_beside([one], tmp_path / "out", data=tmp_path)
    assert read_report(one) == before
