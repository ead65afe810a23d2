from __future__ import annotations

import json

import numpy as np
import pytest
from real_pairs import REAL_PAIRS, needs_pairs

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.matching import check_complete
from hydra_mobile.benchmarks.metric import Metric, share
from hydra_mobile.core.errors import DataError
from hydra_mobile.evaluation.results.paired import (
    AnswerSet,
    compare,
    protocol_warnings,
    samples_digest,
    write_flips,
)
from hydra_mobile.reporting.results import Comparison


class Capitals(Benchmark):
    """Right is right; half credit for the right first letter; points count by pairs."""

    name = "capitals"
    title = "Capitals"

    def splits(self):
        return ["all"]

    def read(self, split):
        return [
            Sample(f"q{i}", None, f"Question {i}?", "all", "word", "Rome", f"c{i // 2}")
            for i in range(40)
        ]

    def is_correct(self, sample, answer):
        return answer == sample.reference

    def credit(self, sample, answer):
        return 1.0 if answer == "Rome" else 0.5 if answer.startswith("R") else 0.0

    def metrics(self, samples, answers, *, partial=False):
        if not partial:
            check_complete(samples, answers)
        clusters = [s.cluster for s in samples]
        credit = [self.credit(s, answers[s.key]) for s in samples]
        points = np.array([[10.0 * value] for value in credit])
        return [
            share("all", "accuracy", credit, clusters, headline=True),
            Metric("all", "points", points, clusters, combine=lambda s: s[..., 0], unit="points"),
        ]


@pytest.fixture
def benchmark(tmp_path):
    return Capitals(tmp_path)


def answers(**changed) -> dict[str, str]:
    return {f"q{i}": "Rome" for i in range(40)} | changed


def test_changes_and_flips_by_hand(benchmark):
    theirs = answers(q1="Paris", q2="Paris", q3="Oslo")
    ours = answers(q1="Rome", q2="Rimini", q3="Bonn", q7="Lima", q8="Rio")
    found = compare(
        benchmark, benchmark.samples(), AnswerSet("int4", ours), AnswerSet("torch", theirs)
    )
    c = found.comparison
    assert (c.benchmark, c.system, c.reference, c.n) == ("capitals", "int4", "torch", 40)
    assert c.same == 35  # q1, q2, q3, q7 and q8 differ
    assert (c.gained, c.lost) == (2, 2)  # q3 is wrong in both
    accuracy, points = c.changes
    # 1 + 0.5 gained, 1 + 0.5 lost.
    assert accuracy.change == pytest.approx(0.0, abs=1e-12)
    assert accuracy.low < 0 < accuracy.high
    assert accuracy.headline
    assert c.headline is accuracy
    assert (points.unit, points.change) == ("points", pytest.approx(0.0, abs=1e-9))
    assert points.low == pytest.approx(400 * accuracy.low)
    flips = {flip.key: flip for flip in found.flips}
    assert list(flips) == ["q1", "q2", "q7", "q8"]
    assert (flips["q2"].credit, flips["q2"].reference_credit) == (0.5, 0.0)
    assert (flips["q7"].answer, flips["q7"].reference_answer) == ("Lima", "Rome")
    assert flips["q7"].expected == "Rome"


def test_the_interval_is_of_the_difference(benchmark):
    """Twenty shared mistakes widen the intervals of the scores, not that of the change."""
    shared = {f"q{i}": "Paris" for i in range(0, 40, 2)}
    found = compare(
        benchmark,
        benchmark.samples(),
        AnswerSet("a", answers(**shared)),
        AnswerSet("b", answers(**shared)),
    )
    accuracy = found.comparison.changes[0]
    assert (accuracy.change, accuracy.low, accuracy.high, accuracy.p) == (0, 0, 0, 1)
    assert found.flips == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (answers(), {"q0": "Rome"}, r"39 only by a \(q1, q2, q3, \.\.\.\); 40 and 1 answers"),
        (answers(x="Rome"), answers(y="Rome"), r"1 only by a \(x\); 1 only by b \(y\)"),
    ],
)
def test_different_questions_are_refused(benchmark, ours, theirs, message):
    for partial in (False, True):
        with pytest.raises(DataError, match=message):
            compare(
                benchmark,
                benchmark.samples(),
                AnswerSet("a", ours),
                AnswerSet("b", theirs),
                partial=partial,
            )


def test_the_same_gaps_in_both_are_allowed_only_when_asked(benchmark):
    some = {f"q{i}": "Rome" for i in range(9)}
    a, b = AnswerSet("a", some | {"q3": "Paris"}), AnswerSet("b", some)
    with pytest.raises(DataError, match="31"):
        compare(benchmark, benchmark.samples(), a, b)
    found = compare(benchmark, benchmark.samples(), a, b, partial=True).comparison
    assert (found.n, found.same, found.lost) == (9, 8, 1)
    assert found.changes[0].change == pytest.approx(-1 / 9)


def test_protocols_that_differ_are_told(benchmark):
    ours = {"protocol": "llava-1.5", "max_new_tokens": 128, "sources": ["dev_20230712.tsv"]}
    theirs = ours | {"protocol": "mobilevlm", "sources": ["dev_20231003.tsv"]}
    found = compare(
        benchmark,
        benchmark.samples(),
        AnswerSet("a", answers(), ours),
        AnswerSet("b", answers(), theirs),
    )
    assert found.comparison.warnings == (
        "protocol llava-1.5 against mobilevlm",
        'sources ["dev_20230712.tsv"] against ["dev_20231003.tsv"]',
    )
    assert protocol_warnings(ours, dict(ours)) == ()
    assert protocol_warnings({}, {}) == ()
    assert protocol_warnings(ours, {}) == ("the protocol of one of the two was not recorded",)
    assert protocol_warnings({"padding": True}, {"protocol": "x"}) == (
        "padding true against unknown",
        "protocol unknown against x",
    )


def test_flips_go_to_a_file_and_a_few_to_the_report(benchmark, tmp_path):
    ours = answers(**{f"q{i}": "Paris" for i in range(30)})
    theirs = answers(**{f"q{i}": "Paris" for i in range(38, 40)})
    found = compare(
        benchmark, benchmark.samples(), AnswerSet("ONNX int4 / x", ours), AnswerSet("t", theirs)
    )
    told: Comparison = write_flips(found, tmp_path)
    assert told.flips_file == "flips/capitals-onnx-int4-x-against-t.jsonl"
    lines = [json.loads(line) for line in (tmp_path / told.flips_file).read_text().splitlines()]
    assert len(lines) == 32
    assert lines[0] == {
        "key": "q0",
        "split": "all",
        "kind": "word",
        "question": "Question 0?",
        "expected": "Rome",
        "answer": "Paris",
        "reference_answer": "Rome",
        "credit": 0.0,
        "reference_credit": 1.0,
    }
    assert len(told.flips) == 12
    assert [flip.credit for flip in told.flips].count(1.0) == 2


def test_digest_of_the_questions(benchmark):
    samples = benchmark.samples()
    assert samples_digest(samples) == samples_digest(reversed(samples))
    assert samples_digest(samples) != samples_digest(samples[1:])


@needs_pairs
def test_the_headline_is_compared_through_its_own_formula():
    """POPE's is a mean of three F1, which no mean over questions gives."""
    from hydra_mobile.benchmarks.pope.benchmark import Pope

    benchmark = Pope(REAL_PAIRS)
    samples = benchmark.samples()
    file = REAL_PAIRS / "pope" / "answers" / "llava-v1.5-13b.jsonl"
    ours = benchmark.read_answers(file, samples)
    # What a model that has seen less would say: every tenth question is answered "No".
    theirs = {key: "No" if i % 10 == 0 else text for i, (key, text) in enumerate(ours.items())}
    found = compare(benchmark, samples, AnswerSet("13b", ours), AnswerSet("blind", theirs))
    scores = [
        {(s.name, s.kind): s for s in benchmark.score(samples, answers)}
        for answers in (ours, theirs)
    ]
    assert len(found.comparison.changes) == len(scores[0])
    for change in found.comparison.changes:
        a, b = (of[change.split, change.kind].value for of in scores)
        assert change.change == pytest.approx(a - b, abs=1e-12)
        assert change.low <= change.change <= change.high
    headline = found.comparison.headline
    own = scores[0][headline.split, headline.kind]
    assert own.value == pytest.approx(0.8594688090539114, abs=1e-9)
    # The questions are shared: the change is known better than either score.
    assert headline.high - headline.low < own.high - own.low
