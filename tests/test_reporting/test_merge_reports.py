from dataclasses import replace

import pytest
from made_benchmarks import with_benchmarks

from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.merge import Beside, Named, beside
from hydra_mobile.reporting.results import Environment, SystemResult
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.verdicts import decode_ratio

CREATED = "2026-11-01T00:00:00Z"


@pytest.fixture
def here(report) -> Report:
    return with_benchmarks(report)


@pytest.fixture
def phone(here) -> Report:
    """One of the systems of `here`, measured on a phone."""
    environment = Environment("device", "aarch64", "Android 15", "none", cpu="Imaginary SoC")
    return Report(
        schema=1,
        created="2026-10-02T08:00:00Z",
        title="phone",
        environment=environment,
        systems=(replace(here.systems[3], name="ExecuTorch int4"),),
        notes=("Screen off.",),
        protocol="on battery",
    )


def put(*reports: tuple[str, Report]) -> Beside:
    return beside([Named(*one) for one in reports], "both", CREATED)


def test_rows_keep_their_numbers_and_their_machine(here, phone):
    made = put(("desk", here), ("phone", phone))
    report = made.report
    names = [system.name for system in report.systems]
    assert len(names) == len(set(names)) == 7
    assert names.count("ExecuTorch int4 (desk)") == names.count("ExecuTorch int4 (phone)") == 1
    assert "ONNX int4" in names  # only names that are there twice are made longer
    assert made.names["phone"] == {"ExecuTorch int4": "ExecuTorch int4 (phone)"}
    moved = report.systems[-1]
    assert moved.environment == phone.environment
    assert moved.timings == phone.systems[0].timings
    assert report.systems[0].environment is None
    assert decode_ratio(report, moved) is None
    assert decode_ratio(report, report.systems[2]) == pytest.approx(24.9 / 11.4)


def test_comparisons_follow_the_names(here, phone):
    report = put(("desk", here), ("phone", phone)).report
    assert len(report.comparisons) == len(here.comparisons)
    assert report.comparison("pope", "ExecuTorch int4 (desk)") is not None
    assert report.comparison("pope", "ExecuTorch int4 (phone)") is None


def test_notes_say_what_came_from_where(here, phone):
    report = put(("desk", here), ("phone", phone)).report
    assert report.notes[0].startswith("Put together from: desk (smol on EmojiQA")
    assert any("several measurements" in note for note in report.notes)
    assert "phone: Screen off." in report.notes
    assert report.protocol == f"desk: {here.protocol}; phone: on battery"
    assert report.parity[0].rung.startswith("desk: ")
    assert report.created == CREATED


def test_equal_notes_are_said_once(here):
    report = put(("a", here), ("b", here)).report
    assert [note for note in report.notes if "random projector" in note] == list(here.notes)
    assert report.protocol == here.protocol
    assert any("training" in note and note.endswith(" b.") for note in report.notes)
    assert not any("several measurements" in note for note in report.notes)


def test_another_trained_model_is_no_second_reference(here):
    trained = here.systems[1]
    other = here.with_system(replace(trained, source_hash="other weights"))
    roles = {s.name: s.role for s in put(("a", here), ("b", other)).report.systems}
    assert roles[f"{trained.name} (a)"] == "reference"
    assert roles[f"{trained.name} (b)"] == "other"
    same = {s.name: s.role for s in put(("a", here), ("b", here)).report.systems}
    assert same[f"{trained.name} (b)"] == "reference"


def test_the_machine_is_that_of_the_first_timings(here):
    nothing = SystemResult("answers", "answers file", "none", scores=here.systems[0].scores)
    elsewhere = Environment("host", "riscv64", "x", "3.11")
    unmeasured = replace(here, systems=(nothing,), environment=elsewhere, training=None)
    report = put(("scored", unmeasured), ("desk", here)).report
    assert report.environment == here.environment
    assert all(system.environment is None for system in report.systems)


def test_what_was_put_together_is_rendered_and_read_again(here, phone, report):
    made = put(("desk", here), ("phone", phone), ("older", report)).report
    assert Report.from_dict(made.to_dict()) == made
    assert "Environment of ExecuTorch int4 (phone)" in render_markdown(made)
    assert "Imaginary SoC" in render_html(made)
    again = put(("once", made), ("more", phone)).report
    assert len({s.name for s in again.systems}) == len(again.systems)
