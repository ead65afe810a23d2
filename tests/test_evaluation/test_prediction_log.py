from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.evaluation.store.prediction_log import LineCount, PredictionLog, read_answers


def line(index: int, text: str = "yes") -> AnswerLine:
    return AnswerLine(key=f"q{index}", ids=(5, 6), margin=0.5, text=text, index=index)


def put(log: PredictionLog, worker: int, *answers: AnswerLine) -> None:
    appender = log.append(worker)
    for answer in answers:
        appender.add(answer)
    appender.close()


def stored(log: PredictionLog) -> list[tuple[str, str]]:
    return [(answer.key, answer.text) for answer in log.read()]


def test_workers_answers_come_together_in_the_order_of_the_questions(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    put(log, 0, line(4), line(0))
    put(log, 1, line(3), line(1))
    assert log.gather() == 4
    assert [key for key, _ in stored(log)] == ["q0", "q1", "q3", "q4"]
    assert log.parts() == []
    assert log.keys() == {"q0", "q1", "q3", "q4"}


def test_an_answer_is_flushed_before_the_next_question(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    appender = log.append(0)
    appender.add(line(0))
    assert [answer.key for answer in read_answers(log.part(0))] == ["q0"]
    appender.close()


def test_a_line_cut_short_is_left_out_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    put(log, 0, line(0))
    with log.part(0).open("a") as handle:
        handle.write(json.dumps(line(1).to_dict())[:12])
    put(log, 0, line(2))
    assert log.gather() == 2
    assert [key for key, _ in stored(log)] == ["q0", "q2"]


def test_a_whole_line_without_its_end_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    # It may be the beginning of a longer one: "12" of "123".
    log = PredictionLog(tmp_path)
    log.file.write_text(json.dumps(line(0).to_dict()) + "\n" + json.dumps(line(1).to_dict()))
    assert log.gather() == 1
    assert log.file.read_text().endswith("\n")


def test_gathering_killed_before_it_removed_the_parts_keeps_each_answer_once(
    tmp_path: Path,
) -> None:
    log = PredictionLog(tmp_path)
    put(log, 0, line(0, "first"), line(1))
    kept = log.part(0).read_bytes()
    log.gather()
    log.part(0).write_bytes(kept)
    put(log, 1, line(0, "second"))
    assert log.gather() == 2
    assert stored(log) == [("q0", "first"), ("q1", "yes")]
    assert log.file.read_bytes().count(b"\n") == 2


def test_gathering_twice_changes_nothing(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    put(log, 0, line(1), line(0))
    log.gather()
    before = log.file.read_bytes()
    assert log.gather() == 2
    assert log.file.read_bytes() == before


def test_answers_with_line_ends_of_other_alphabets_stay_whole(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    text = "one\u2028two\x85three\nfour"
    put(log, 0, line(0, text))
    log.gather()
    assert stored(log) == [("q0", text)]


def test_lines_of_a_growing_file_are_counted_once(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    count = LineCount(log.part(0))
    assert count.count() == 0
    put(log, 0, line(0), line(1))
    assert count.count() == 2
    put(log, 0, line(2))
    assert count.count() == 3


def test_lines_of_earlier_versions_are_read_and_a_missing_key_is_named(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    # As version 0.1 wrote them: without `ended`.
    old = {
        "index": 3,
        "key": "q3",
        "text": "a cat",
        "ids": [7, 8],
        "margin": 1.25,
        "encode_seconds": None,
        "first_token_seconds": None,
        "seconds": 0.5,
        "runner_seconds": 0.25,
    }
    log.file.write_text(json.dumps(old) + "\n")
    (found,) = log.read()
    assert found.to_dict() == old
    assert found.ended is None
    log.file.write_text(json.dumps({key: old[key] for key in ("index", "key", "text")}) + "\n")
    with pytest.raises(DataError, match="ids"):
        list(log.read())


def test_why_an_answer_ended_is_kept(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    put(log, 0, AnswerLine("q0", (1,), 0.5, text="x", index=0, ended="length"))
    log.gather()
    assert [answer.ended for answer in log.read()] == ["length"]
