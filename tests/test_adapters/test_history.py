from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from made_history import made_events, write_history

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.history import RankEvent, RankHistory
from hydra_mobile.adapters.policies import PolicyInput, allocate
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError


@pytest.fixture
def history(tmp_path) -> RankHistory:
    return write_history(tmp_path, layers=6)


def put(history: RankHistory, *values: object) -> RankHistory:
    history.path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return history


A, B, C = ({"x.0.a": 8, "x.0.b": r} for r in (8, 4, 0))


def test_what_is_appended_is_read_back(history):
    events = history.read()
    assert [event.to_json() for event in events] == made_events(layers=6)
    assert len(history.path.read_text().splitlines()) == len(events)


def test_every_cut_of_the_last_line_is_skipped(history):
    whole = history.path.read_bytes()
    events = history.read()
    last = len(whole.splitlines()[-1])
    for cut in range(1, last + 2):
        history.path.write_bytes(whole[:-cut])
        # Without its line break alone the line is still whole.
        assert history.read() == (events if cut == 1 else events[:-1])


def test_appending_after_a_cut_removes_the_cut_line(history):
    whole, events = history.path.read_bytes(), history.read()
    for cut in (1, 2, 30):
        history.path.write_bytes(whole[:-cut])
        before = history.read()
        history.append(events[-1].to_json())
        assert history.read() == [*before, events[-1]]
    history.path.write_bytes(b"\0" * 40)
    history.append(events[0].to_json())
    assert history.read() == events[:1]


def test_a_broken_line_in_the_middle_names_file_and_line(history):
    lines = history.path.read_text().splitlines(keepends=True)
    lines[3] = lines[3][:20] + "\n"
    history.path.write_text("".join(lines))
    with pytest.raises(ArtifactError, match=r"ranks\.jsonl, line 4.*JSON"):
        history.read()


def test_no_file_is_an_empty_history(tmp_path):
    history = RankHistory.of_run(tmp_path)
    history.keep_until(3)
    assert history.read() == history.maps() == []
    with pytest.raises(ArtifactError, match="missing"):
        history.final_map()
    assert not history.path.exists()


def test_keep_until_keeps_what_happened_at_the_step(history):
    events = history.read()
    step = next(event.step for event in events if event.event == "observe")
    with history.path.open("a") as handle:
        handle.write('{"schema": 1, "st')
    history.keep_until(step)
    assert history.read() == [event for event in events if event.step <= step]
    assert history.read()[-1].event == "observe"
    assert history.path.read_bytes().endswith(b"}\n")
    history.keep_until(10**9)
    assert history.read()[-1].step == step
    assert [path.name for path in history.path.parent.iterdir()] == ["ranks.jsonl"]


def test_maps_in_force(history):
    maps = history.maps()
    setting = [e for e in history.read() if e.event in ("initial", "allocate", "move")]
    assert [step for step, _ in maps] == [event.step for event in setting]
    assert [rank_map.digest() for _, rank_map in maps] == [event.digest for event in setting]
    assert history.final_map() == maps[-1][1]


def test_a_map_follows_from_what_changed(tmp_path):
    history = put(
        RankHistory.of_run(tmp_path),
        {"step": 0, "event": "initial", "ranks": A},
        {"step": 5, "event": "move", "changed": {"x.0.b": [8, 4]}, "digest": RankMap(B).digest()},
        {"step": 6, "event": "resized", "digest": RankMap(B).digest()},
        {"step": 7, "event": "abstain"},
        {"step": 8, "event": "move", "changed": {"x.0.b": [4, 0]}},
    )
    assert history.maps() == [(0, RankMap(A)), (5, RankMap(B)), (8, RankMap(C))]


def test_the_last_map_of_a_step_counts(tmp_path):
    history = put(
        RankHistory.of_run(tmp_path),
        {"step": 0, "event": "initial", "ranks": A},
        {"step": 0, "event": "allocate", "ranks": B},
        {"step": 4, "event": "allocate", "ranks": B},
    )
    assert history.maps() == [(0, RankMap(B))]


def test_a_run_without_maps_in_its_history_has_the_one_beside_it(tmp_path):
    history = put(
        RankHistory.of_run(tmp_path),
        {"step": 0, "event": "initial", "digest": RankMap(A).digest()},
    )
    with pytest.raises(ArtifactError, match="step 0"):
        history.maps()
    RankMap(A).write(tmp_path / "rank_map.json")
    assert history.maps() == [(0, RankMap(A))]
    RankMap(B).write(tmp_path / "rank_map.json")
    with pytest.raises(ArtifactError, match="holds neither"):
        history.maps()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"schema": 2, "step": 0, "event": "initial"}, "schema 2"),
        ({"step": 0, "event": "mov"}, "Did you mean `move`"),
        ({"step": -1, "event": "move"}, "`step`.*-1"),
        ({"step": "3", "event": "move"}, "`step`.*'3'"),
        ({"event": "move"}, "`step`"),
        ([], "object"),
        ({"step": 0, "event": "initial", "ranks": {"x": -1}}, "`x`.*-1"),
        ({"step": 0, "event": "initial", "ranks": A, "digest": "0"}, "digest"),
        ({"step": 0, "event": "move", "changed": {"x": [1]}}, r"`changed\.x`.*\[1\]"),
        ({"step": 0, "event": "move", "parameters": "many"}, "`parameters`.*'many'"),
        ({"step": 0, "event": "move", "prediction": 3}, "`prediction`.*3"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path, value, message):
    history = put(RankHistory.of_run(tmp_path), {"step": 0, "event": "freeze"}, value)
    with pytest.raises(ArtifactError, match=message) as refused:
        history.read()
    assert "ranks.jsonl, line 2" in refused.value.what
    if isinstance(value, dict):
        with pytest.raises(ArtifactError):
            RankHistory(tmp_path / "other.jsonl").append(value)
        assert not (tmp_path / "other.jsonl").exists()


def test_optional_keys_may_be_missing_or_null_and_unknown_ones_are_kept():
    value = {"schema": 1, "step": 3, "event": "observe", "probe": None, "later": [1]}
    event = RankEvent.from_json(value)
    assert event.probe is None
    assert event.to_json() == {"schema": 1, "step": 3, "event": "observe", "later": [1]}


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    history = RankHistory.of_run(tmp_path)
    event = {"step": 1, "event": "abstain", "prediction": {"gain": math.nan, "lower": -math.inf}}
    assert history.append(event).prediction == {"gain": None, "lower": None}
    json.loads(history.path.read_text(), parse_constant=pytest.fail)


def test_policy_fixed_takes_the_last_map_of_a_history(tmp_path):
    budget = Budget({"x.0.a": 4, "x.0.b": 6}, 8)
    put(
        RankHistory.of_run(tmp_path),
        {"step": 0, "event": "initial", "ranks": A},
        {"step": 5, "event": "move", "changed": {"x.0.b": [8, 4]}},
    )
    found = allocate("fixed", PolicyInput(budget, map_file=tmp_path / "ranks.jsonl"))
    assert found == RankMap(B)
    with pytest.raises(ArtifactError, match=r"none\.jsonl.*missing"):
        allocate("fixed", PolicyInput(budget, map_file=tmp_path / "none.jsonl"))


def test_it_needs_no_torch():
    code = "import sys, hydra_mobile.adapters.history; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
