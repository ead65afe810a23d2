from __future__ import annotations

import json
from pathlib import Path

from hydra_mobile.evaluation.store.prediction_log import AnswerLog, LineCount, read_answers


def line(index: int, text: str = "yes") -> dict[str, object]:
    return {"index": index, "key": f"q{index}", "text": text}


def put(log: AnswerLog, worker: int, *answers: dict[str, object]) -> None:
    appender = log.append(worker)
    for answer in answers:
        appender.add(answer)
    appender.close()


def told(log: AnswerLog) -> list[tuple[str, str]]:
    return [(answer["key"], answer["text"]) for answer in log.read()]


def test_workers_answers_come_together_in_the_order_of_the_questions(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    put(log, 0, line(4), line(0))
    put(log, 1, line(3), line(1))
    assert log.gather() == 4
    assert [key for key, _ in told(log)] == ["q0", "q1", "q3", "q4"]
    assert log.parts() == []
    assert log.keys() == {"q0", "q1", "q3", "q4"}


def test_an_answer_is_flushed_before_the_next_question(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    appender = log.append(0)
    appender.add(line(0))
    assert [answer["key"] for answer in read_answers(log.part(0))] == ["q0"]
    appender.close()


def test_a_line_cut_short_is_left_out_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    put(log, 0, line(0))
    with log.part(0).open("a") as handle:
        handle.write(json.dumps(line(1))[:12])
    put(log, 0, line(2))
    assert log.gather() == 2
    assert [key for key, _ in told(log)] == ["q0", "q2"]


def test_a_whole_line_without_its_end_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    # It may be the beginning of a longer one: "12" of "123".
    log = AnswerLog(tmp_path)
    log.file.write_text(json.dumps(line(0)) + "\n" + json.dumps(line(1)))
    assert log.gather() == 1
    assert log.file.read_text().endswith("\n")


def test_gathering_killed_before_it_removed_the_parts_keeps_each_answer_once(
    tmp_path: Path,
) -> None:
    log = AnswerLog(tmp_path)
    put(log, 0, line(0, "first"), line(1))
    kept = log.part(0).read_bytes()
    log.gather()
    log.part(0).write_bytes(kept)
    put(log, 1, line(0, "second"))
    assert log.gather() == 2
    assert told(log) == [("q0", "first"), ("q1", "yes")]
    assert log.file.read_bytes().count(b"\n") == 2


def test_gathering_twice_changes_nothing(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    put(log, 0, line(1), line(0))
    log.gather()
    before = log.file.read_bytes()
    assert log.gather() == 2
    assert log.file.read_bytes() == before


def test_answers_with_line_ends_of_other_alphabets_stay_whole(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    text = "one\u2028two\x85three\nfour"
    put(log, 0, line(0, text))
    log.gather()
    assert told(log) == [("q0", text)]


def test_lines_of_a_growing_file_are_counted_once(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path)
    count = LineCount(log.part(0))
    assert count.count() == 0
    put(log, 0, line(0), line(1))
    assert count.count() == 2
    put(log, 0, line(2))
    assert count.count() == 3
