# ruff: noqa: RUF001 (the en dash and the minus sign are what is tested)
import re
from dataclasses import replace

import pytest
from made_benchmarks import comparison, runs, with_benchmarks
from test_report_rendering import Page

from hydra_mobile.cli.report_view import show_report
from hydra_mobile.reporting import bars, benchmark_tables, formats, tables
from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.measures import measures
from hydra_mobile.reporting.results import BenchmarkRun, Score
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.verdicts import findings


@pytest.fixture
def scored(report) -> Report:
    return with_benchmarks(report)


def rows(table) -> dict[tuple[str, str], dict[str, str]]:
    titles = [column.title for column in table.columns[1:]]
    return {
        (row[0].text, row[0].detail): dict(zip(titles, (c.text for c in row[1:]), strict=True))
        for row in table.rows
    }


def by_claim(report):
    return {finding.claim: finding for finding in findings(report)}


def test_one_row_for_each_system_on_each_benchmark(scored):
    table = benchmark_tables.results_table(scored)
    found = rows(table)
    assert len(found) == len(table.rows) == 6 * 3
    assert table.groups == [0, 6, 12]
    # Each row says which release of the questions its score is of.
    notes = [table.footnotes[row[0].footnote - 1] for row in table.rows]
    assert notes[::6] == [
        f"{b}: {b.lower()}.json; protocol llava-1.5" for b in ("POPE", "MME", "GQA")
    ]
    assert render_html(scored).count('<tr class="group">') == 2
    row = found["ExecuTorch int4", "MME perception"]
    assert row == {
        "Score": "1,184.2",
        "Against trained": "−12.0",
        "Flipped": "+30, −40",
        "n": "2,114",
        "Encode": "24.8",
        "Prefill": "790",
        "First token": "123",
        "Decode": "63.2",
        "Peak memory": "812",
        "On fast path": "99.9",
        "In runner": "96.2",
    }
    assert found["ONNX int4", "POPE mean f1"]["Against trained"] == "−4.22"
    assert found["torch fp32 (trained)", "GQA"]["Against trained"] == "reference"
    assert found["torch fp32 (untrained)", "GQA"]["Against trained"] == "–"


def test_only_certain_changes_are_colored(scored):
    tones = {
        row[0].text: row[2].tone
        for row in benchmark_tables.results_table(scored).rows
        if row[0].detail == "GQA"
    }
    assert tones["ONNX int4"] == "bad"
    assert tones["ExecuTorch int4"] == "bad"
    assert tones["ONNX fp32"] == ""


def test_headlines_stand_for_benchmarks(scored, report):
    assert [m.title for m in measures(scored)] == ["POPE mean f1", "MME perception", "GQA"]
    assert [m.title for m in measures(report)] == ["Seen", "Unseen"]
    # Of one benchmark the splits are shown as well.
    led = tuple(replace(s, headline=s.split == "seen") for s in report.systems[1].scores[:1])
    one = report.with_system(replace(report.systems[1], scores=led + report.systems[1].scores[1:]))
    assert [(m.title, m.headline) for m in measures(one)] == [("Seen", True), ("Unseen", False)]


def test_a_split_that_is_a_file_does_not_repeat_the_benchmark(scored):
    system = scored.systems[1]
    score = Score("mmbench", "mmbench_dev_20230712", "circular", 0.5, 0.4, 0.6, 9, headline=True)
    more = scored.with_system(replace(system, scores=(*system.scores, score)))
    assert measures(more)[-1].title == "MMBench dev_20230712 circular"


def test_unread_answers_are_counted(scored):
    system = scored.systems[1]
    scores = (replace(system.scores[0], unread=17), *system.scores[1:])
    text = render_markdown(scored.with_system(replace(system, scores=scores)))
    assert "84.3 (83.4–85.2; 17 unread)" in text


def test_questions_that_were_not_recorded_tell_nothing_apart(scored):
    same = changed_run(scored, samples="")
    assert not [f for f in findings(same) if f.status == "warning"]
    (found,) = [f for f in findings(changed_run(scored, samples="", questions=9, answered=9))
                if f.status == "warning"]  # fmt: skip
    assert "8,910 questions ab12cd: " in found.evidence
    assert "ExecuTorch int4" in found.evidence


def test_points_are_not_percent(scored):
    text = render_markdown(scored)
    row = next(line for line in text.splitlines() if line.startswith("| torch fp32 (trained) |"))
    assert "84.3 (83.4–85.2) | 1,196.2 (1,168.2–1,224.2) | 56.1" in row
    assert "MME perception, points (95%)" in text
    assert "1,196.2 points (1,168.2–1,224.2), n = 2114; untrained 837.3 points" in text


def test_all_three_forms_hold_the_results(scored, capsys):
    text = render_markdown(scored)
    page = render_html(scored)
    Page(page)
    for words in ("Results", "Protocols", "Every number against the trained model", "Flipped"):
        assert words in text
        assert words in page
    assert "ExecuTorch int4 (MME perception) (4) | 1,184.2 (1,156.2–1,212.2) | −12.0" in text
    assert "flips/mme.jsonl" in text
    assert r"Is there \| a dog? Answer the question" in text
    show_report(scored)
    assert "1,184.2 1,156.2–1,212.2" in capsys.readouterr().out


def test_markdown_tables_stay_rectangular(scored):
    for block in render_markdown(scored).split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1


def test_nothing_leaves_its_picture(scored):
    picture = bars.score_bars(scored)
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', picture).groups())
    for name, most in (("x", width), ("y", height)):
        for value in re.findall(rf' (?:{name}[12]?|c{name})="(-?[\d.]+)"', picture):
            assert -0.01 <= float(value) <= most + 0.01


def test_protocols_are_listed_once(scored):
    table = benchmark_tables.protocols_table(scored)
    assert [row[0].text for row in table.rows] == ["GQA", "MME", "POPE"]
    assert [cell.text for cell in table.rows[2][1:]] == [
        "llava-1.5",
        "8,910",
        "pope.json",
        "max new tokens: 128",
        "all",
    ]


def changed_run(scored, **fields):
    system = scored.systems[3]
    run = replace(system.runs[0], **fields)
    return scored.with_system(replace(system, runs=(run, *system.runs[1:])))


@pytest.mark.parametrize(
    ("fields", "evidence"),
    [
        ({"protocol": "mobilevlm"}, "protocol llava-1.5: .* and 2 more; protocol mobilevlm: Ex"),
        ({"sources": ("newer.json",)}, r"files pope\.json: .*; .*files newer\.json: ExecuTorch"),
        ({"samples": "ffff0000"}, "questions ab12cd.*questions ffff00: ExecuTorch int4"),
        ({"facts": {"ocr": False}}, "ocr not recorded: .*; .*ocr False: ExecuTorch int4"),
        ({"protocol": "", "facts": {}}, "protocol not recorded: ExecuTorch int4"),
    ],
)
def test_other_ways_of_asking_are_a_warning(scored, fields, evidence):
    assert not [f for f in findings(scored) if f.status == "warning"]
    (found,) = [f for f in findings(changed_run(scored, **fields)) if f.status == "warning"]
    assert found.claim == "POPE was not asked of all in the same way"
    assert re.search(evidence, found.evidence)


def test_a_warning_is_seen_in_every_form(scored, capsys):
    warned = changed_run(scored, protocol="mobilevlm")
    assert "- ! **POPE" in render_markdown(warned)
    assert '<li class="warning">' in render_html(warned)
    show_report(warned)
    assert "! POPE" in capsys.readouterr().out


def test_an_incomplete_run_is_a_warning(scored):
    (found,) = [f for f in findings(changed_run(scored, answered=8000)) if f.status == "warning"]
    assert (found.claim, found.evidence) == (
        "ExecuTorch int4 on POPE is incomplete",
        "8,000 of 8,910 questions answered",
    )
    asked = benchmark_tables.protocols_table(changed_run(scored, answered=8000))
    assert "8,000 of 8,910" in [row[2].text for row in asked.rows]


@pytest.mark.parametrize(
    ("change", "half", "status"),
    [(-0.005, 0.004, "pass"), (-0.005, 0.02, "unknown"), (-0.03, 0.004, "fail")],
)
def test_an_export_may_lose_a_point(scored, change, half, status):
    only = replace(scored, comparisons=(comparison("pope", "ExecuTorch int4", change, half),))
    found = by_claim(only)["ExecuTorch int4 scores as torch fp32 (trained) does"]
    assert found.status == status
    assert f"POPE −{abs(100 * change):.2f}" in found.evidence


def test_the_worst_benchmark_decides(scored):
    both = (
        comparison("pope", "ONNX int4", 0.0, 0.001),
        comparison("mme", "ONNX int4", -60.0, 30.0),
    )
    found = by_claim(replace(scored, comparisons=both))
    assert found["ONNX int4 scores as torch fp32 (trained) does"].status == "fail"


def test_lost_and_gained_answers_are_shown(scored):
    table = benchmark_tables.flips_table(scored)
    own = [r for r in table.rows if (r[0].text, r[0].detail) == ("ONNX fp32", "MME")]
    assert [row[4].tone for row in own] == ["bad", "bad", "good", "good"]
    assert [(row[3].text, row[4].text) for row in own] == [("yes", "no")] * 2 + [("no", "yes")] * 2


def test_a_number_that_one_system_lacks_is_a_dash(scored):
    one = scored.comparisons[0]
    fewer = replace(
        scored, comparisons=(replace(one, changes=one.changes[:1]), *scored.comparisons[1:])
    )
    table = benchmark_tables.changes_table(fewer)
    texts = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert texts["POPE other"][0] == "–"
    assert len(texts["POPE mean f1"]) == 4


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.004, "share", "+0.40"),
        (-0.1234, "share", "−12.3"),
        (0.0, "share", "0.00"),
        (-0.00001, "share", "0.00"),
        (-22.34, "points", "−22.3"),
        (None, "share", "–"),
        (float("nan"), "share", "not finite"),
    ],
)
def test_changes_carry_their_sign(value, unit, shown):
    assert formats.change(value, unit) == shown


def test_sources_hold_no_machine_path():
    run = BenchmarkRun("pope", sources=("/home/somebody/pope/coco.json", "b.json"))
    assert run.sources == ("coco.json", "b.json")
    assert run.complete


def test_a_report_without_runs_has_no_benchmark_tables(report):
    text = render_markdown(report)
    assert "## Results" not in text
    assert "## Protocols" not in text


def test_old_reports_read_as_before(report):
    """Fields of today are absent in the reports of yesterday."""
    value = report.to_dict()
    del value["comparisons"]
    for system in value["systems"]:
        del system["runs"], system["environment"]
        for score in system["scores"]:
            del score["unit"], score["headline"], score["unread"]
    assert Report.from_dict(value) == report


def test_everything_new_survives_json(scored):
    assert Report.from_dict(scored.to_dict()) == scored
    assert scored.systems[0].runs == runs()
    assert scored.systems[1].headline("mme") == Score(
        "mme", "perception", "all", 1196.2, 1168.2, 1224.2, 2114, 717.72, "points", True
    )


def test_ratios_of_speed_need_one_sitting(scored):
    phone = replace(scored.environment, kind="device", machine="aarch64")
    moved = scored.with_system(replace(scored.systems[3], environment=phone))
    found = rows(tables.main_table(moved))
    assert found["ExecuTorch int4", ""]["× torch"] == "–"
    assert found["ExecuTorch fp32", ""]["× torch"] == "2.2×"
    assert "ExecuTorch int4 decodes faster than torch" not in by_claim(moved)
    assert [title for title, _ in tables.environments(moved)] == [
        "Environment",
        "Environment of ExecuTorch int4",
    ]
    assert "ExecuTorch int4" in render_html(moved)
