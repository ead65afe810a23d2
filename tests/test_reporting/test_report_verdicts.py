# ruff: noqa: RUF001 (the en dash and the multiplication sign are what is tested)
from dataclasses import replace

import pytest

from hydra_mobile.reporting.formats import duration, number, percent
from hydra_mobile.reporting.results import Agreement, Score, Spread, Timings
from hydra_mobile.reporting.schema import ParityRow
from hydra_mobile.reporting.verdicts import decode_ratio, findings


def by_claim(report):
    return {finding.claim: finding for finding in findings(report)}


def changed(report, name, **fields):
    system = next(s for s in report.systems if s.name == name)
    return report.with_system(replace(system, **fields))


def test_claims_of_the_sample(report):
    found = by_claim(report)
    statuses = {claim: finding.status for claim, finding in found.items()}
    assert statuses == {
        "Training helped (seen)": "pass",
        "Training helped (unseen)": "pass",
        "ExecuTorch fp32 answers as torch does": "pass",
        "ExecuTorch int4 answers as torch does": "pass",
        "ONNX fp32 answers as torch does": "pass",
        "ONNX int4 answers as torch does": "fail",
        "The models match, step by step": "pass",
        "ExecuTorch int4 decodes faster than torch": "pass",
        "Rank budget kept": "pass",
        "ExecuTorch int4 fell back": "note",
    }
    assert "5.5×" in found["ExecuTorch int4 decodes faster than torch"].evidence
    assert "355 of 400 (88.8%)" in found["ONNX int4 answers as torch does"].evidence


def test_overlapping_intervals_do_not_pass(report):
    score = Score("emojiqa", "seen", "all", 0.40, 0.31, 0.49, 400, 0.2)
    found = by_claim(changed(report, "torch fp32 (trained)", scores=(score,)))
    assert found["Training helped (seen)"].status == "fail"


def test_a_majority_inside_the_interval_does_not_pass(report):
    score = Score("emojiqa", "seen", "all", 0.74, 0.70, 0.78, 400, 0.71)
    found = by_claim(changed(report, "torch fp32 (trained)", scores=(score,)))
    assert found["Training helped (seen)"].status == "fail"


def test_without_the_untrained_model_nothing_is_claimed(report):
    rest = tuple(s for s in report.systems if s.role != "untrained")
    found = by_claim(replace(report, systems=rest))["Training helped (seen)"]
    assert found.status == "unknown"
    assert "untrained not scored" in found.evidence


def test_a_failed_bound_says_why_when_known(report):
    found = by_claim(
        changed(report, "ONNX int4", reasons={"agreement": "the head is 4-bit as well"})
    )
    assert "the head is 4-bit" in found["ONNX int4 answers as torch does"].evidence


def test_fp32_must_agree_on_each_split(report):
    agreement = {"seen": Agreement(400, 400), "unseen": Agreement(395, 400)}
    found = by_claim(changed(report, "ONNX fp32", agreement=agreement))
    assert found["ONNX fp32 answers as torch does"].status == "fail"


def test_unmeasured_agreement_is_not_a_pass(report):
    found = by_claim(changed(report, "ONNX fp32", agreement=None))
    assert found["ONNX fp32 answers as torch does"].status == "unknown"


def test_slow_and_unmeasured_decoding(report):
    slow = Timings(decode_tokens_per_second=Spread(20.0, 19.0, 21.0, 5))
    claim = "ExecuTorch int4 decodes faster than torch"
    assert by_claim(changed(report, "ExecuTorch int4", timings=slow))[claim].status == "fail"
    none = changed(report, "ExecuTorch int4", timings=Timings())
    assert by_claim(none)[claim].status == "unknown"
    assert decode_ratio(none, none.systems[3]) is None


def test_failed_rung_is_named(report):
    row = ParityRow("merged → ONNX fp32", max_abs=0.2, tolerance=1e-3, verdict="fail")
    claims = by_claim(replace(report, parity=(*report.parity, row)))
    found = claims["The models match, step by step"]
    assert found.status == "fail"
    assert "merged → ONNX fp32" in found.evidence


def test_one_parameter_too_many_fails(report):
    counts = report.training.parameters
    over = replace(counts, lora=counts.budget + 1)
    changed_report = replace(report, training=replace(report.training, parameters=over))
    assert by_claim(changed_report)["Rank budget kept"].status == "fail"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (63.24, "63.2"),
        (0.0248, "0.0248"),
        (1208.4, "1,208"),
        (2.1e-5, "2.1e-5"),
        (float("nan"), "not finite"),
    ],
)
def test_number(value, shown):
    assert number(value) == shown


def test_percent_does_not_round_up_to_all():
    assert percent(1.0) == "100.0"
    assert percent(0.9999) == "99.9"
    assert percent(None) == "–"


def test_duration():
    assert [duration(s) for s in (None, 3.21, 42.4, 192, 7500)] == [
        "–",
        "3.2 s",
        "42 s",
        "3 min 12 s",
        "2 h 05 min",
    ]
