# ruff: noqa: RUF001 (the en dash is what is tested)
from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from made_history import MOVED_AT, made_events, write_history

from hydra_mobile.adapters.history import RankEvent, RankHistory
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.evaluation.results.rank_history import measured_gains, rank_history
from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.rank_history import (
    maps_in_force,
    mean_ranks,
    panels,
    spread_labels,
    stairs,
    totals,
)
from hydra_mobile.reporting.rank_history_svg import rank_history_file
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.training_section import RankEventFacts, RankHistorySection


@pytest.fixture
def history(tmp_path) -> RankHistorySection:
    write_history(tmp_path)
    found = rank_history(tmp_path, steps=400)
    assert found is not None
    return found


@pytest.fixture
def with_history(report, history) -> Report:
    return replace(report, training=replace(report.training, rank_history=history))


def of(*events: RankEventFacts) -> RankHistorySection:
    return RankHistorySection(0, events)


def test_the_maps_of_the_facts_are_those_of_the_file(tmp_path, history):
    recorded = RankHistory.of_run(tmp_path).maps()
    shown = [(at.step, at.ranks) for at in maps_in_force(history)]
    assert shown == [(step, dict(rank_map)) for step, rank_map in recorded]
    # Only what changed is written again: thirteen whole maps would be most of a report.
    assert sum(len(event.ranks) for event in history.events) < 4 * 210


def test_what_moved_is_said_in_words(history):
    said = {event.kind: event.moved for event in history.events}
    assert history.events[0].moved == "210 modules, rank 16"
    assert re.fullmatch(r"\d+ of 210 modules, to ranks \d+ to \d+", history.events[1].moved)
    assert re.fullmatch(r"\w+/\w+_proj → \w+/\w+_proj, \d+ modules", said["move"])
    assert said["abstain"] == said["freeze"] == ""


def test_an_adapter_that_is_gone_is_at_rank_0(tmp_path):
    file = RankHistory.of_run(tmp_path)
    file.append({"step": 0, "event": "initial", "ranks": {"x.0.a": 2, "x.0.b": 4}})
    file.append({"step": 3, "event": "move", "ranks": {"x.0.a": 8}})
    found = rank_history(tmp_path, 0)
    assert maps_in_force(found)[-1].ranks == {"x.0.a": 8, "x.0.b": 0}


def test_no_history_is_none(tmp_path):
    assert rank_history(tmp_path, 10) is None


def test_totals_by_hand(history):
    found = totals(history)
    assert (found.moves, found.abstentions) == (len(MOVED_AT), 13 - len(MOVED_AT))
    assert found.acted == len(MOVED_AT) / 13
    assert (found.probes, found.probe_steps) == (13, 260)
    events = made_events()
    seconds = sum(event["probe"]["seconds"] for event in events if "probe" in event)
    assert found.probe_seconds == pytest.approx(seconds)
    signs = []
    for i, event in enumerate(events):
        if event["event"] == "move":
            measured = events[i + 1]["realised"]["gain"]
            signs.append((event["prediction"]["gain"] > 0) == (measured > 0))
    assert (found.compared, found.same_sign) == (len(signs), sum(signs)) == (5, found.same_sign)
    assert "5 moves, ranks kept at 8 checks" in found.words()
    assert "13 probes" in found.words()


def test_nothing_to_sum_up():
    found = totals(of(RankEventFacts(0, "initial", ranks={"x.0.a": 2})))
    assert found.acted is None
    assert found.words() == ""


def event(step: int, kind: str, move: str = "", gain: float | None = None, **more) -> RankEvent:
    cells = {"from": move[0], "to": move[1]} if move else None
    realised = {"gain": gain, **more} if gain is not None else None
    return RankEvent(step, kind, move=cells, realised=realised)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event(1, "move", "ab"), event(2, "observe", "ab", 0.5)], {0: 0.5}),
        ([event(1, "move", "ab"), event(2, "observe", "ba", 0.5)], {}),
        ([event(1, "move", "ab"), event(2, "observe", "ab", 0.5, made=False)], {}),
        ([event(1, "observe", "ab", 0.5), event(1, "move", "ab")], {1: 0.5}),
        ([event(1, "observe", "ab", 0.5), event(2, "move", "ab")], {}),
        (
            [
                event(1, "move", "ab"), event(2, "observe", "ab", 0.5),
                event(3, "move", "ab"), event(4, "observe", "ab", 0.1),
            ],
            {0: 0.5, 2: 0.1},
        ),
        ([event(1, "move"), event(2, "observe", gain=0.5)], {}),
    ],
)  # fmt: skip
def test_a_move_is_measured_by_its_own_probe(events, expected):
    assert measured_gains(events) == expected


def test_panels_keep_first_and_last():
    maps = maps_in_force(of(*(RankEventFacts(i, "move", ranks={"x.0.a": i}) for i in range(30))))
    chosen = [at.step for at in panels(maps)]
    assert len(chosen) == 8
    assert (chosen[0], chosen[-1]) == (0, 29)
    gaps = {b - a for a, b in itertools.pairwise(chosen)}
    assert max(gaps) - min(gaps) <= 1
    assert panels(maps[:8]) == maps[:8]


def test_mean_rank_of_a_projection():
    first = {"x.0.q_proj": 2, "x.1.q_proj": 4, "x.0.v_proj": 8}
    found = of(
        RankEventFacts(0, "initial", ranks=first),
        RankEventFacts(5, "move", ranks={"x.0.q_proj": 0}),
    )
    lines = mean_ranks(maps_in_force(found))
    assert lines == {"q_proj": [(0, 3.0), (5, 2.0)], "v_proj": [(0, 8.0), (5, 8.0)]}
    assert stairs(lines["q_proj"], 9) == [(0, 3.0), (5, 3.0), (5, 2.0), (9, 2.0)]


def test_labels_do_not_touch():
    places = [5.0, 5.0, 100.0, 6.0, 112.0]
    spread = spread_labels(places, 14)
    ordered = sorted(spread)
    assert all(b - a >= 14 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert sorted(range(5), key=spread.__getitem__) == sorted(range(5), key=places.__getitem__)
    assert spread_labels([1.0, 50.0], 14) == [1.0, 50.0]
    assert spread_labels([], 14) == []


def test_the_page_shows_the_history(with_history):
    page = render_html(with_history)
    # Each once for wide and for narrow pages, and once in the key.
    assert page.count('class="kept0"') == 2 * 8 + 1
    assert page.count('class="moved"') == 2 * 5 + 1
    assert "moved 5 times" in page
    for words in ("layers 0–9: ", "abstain", "freeze", "same sign"):
        assert words in page


def test_markdown_has_one_line_of_it(with_history):
    text = render_markdown(with_history)
    assert "5 moves, ranks kept at 8 checks" in text


def test_a_history_of_one_map_draws_nothing(report):
    one = of(RankEventFacts(0, "initial", ranks={"x.0.a": 2}))
    page = render_html(replace(report, training=replace(report.training, rank_history=one)))
    assert "Rank events" not in page
    assert "did not move" in page


def test_flat_ranks_and_rank_0_draw(report):
    found = of(
        RankEventFacts(0, "initial", ranks={"a.0.q_proj": 1, "b.0.q_proj": 1}),
        RankEventFacts(0, "abstain", reason="<none>"),
        RankEventFacts(1, "move", ranks={"a.0.q_proj": 0}),
    )
    training = replace(report.training, rank_history=found, r_ref=1)
    page = render_html(replace(report, training=training))
    assert "nan" not in rank_history_file(found, 1)
    assert "<none>" not in page


def test_the_report_keeps_the_history_and_reads_reports_without_it(with_history):
    value = json.loads(json.dumps(with_history.to_dict(), allow_nan=False))
    assert Report.from_dict(value) == with_history
    del value["training"]["rank_history"]
    assert Report.from_dict(value).training.rank_history is None


def test_the_file_holds_the_pictures_and_their_style(history):
    root = ElementTree.fromstring(rank_history_file(history, 16))
    texts = [element.text for element in root.iter() if element.text]
    # Viewers of files know no variables.
    assert not any("var(" in text for text in texts)
    assert any(text.startswith("step 0, layer 0") for text in texts)
    assert "mean rank" in texts
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    one = of(RankEventFacts(0, "initial", ranks={"x.0.a": 2, "head": 1}))
    assert "rank 2" in rank_history_file(one, 2)
    with pytest.raises(ArtifactError, match="no map"):
        rank_history_file(of(RankEventFacts(0, "freeze")), 2)


def test_titles_of_maps_beside_each_other_have_room():
    first = RankEventFacts(0, "initial", ranks={"x.0.a": 2, "x.1.a": 2})
    moved = RankEventFacts(9, "move", moved="q_proj → up_proj, 2 modules", ranks={"x.0.a": 4})
    root = ElementTree.fromstring(rank_history_file(of(first, moved), 2))
    found = [e for e in root.iter() if (e.text or "").startswith("Step ") and e.get("x")]
    places = {e.text: float(e.get("x")) for e in found}
    left, right = sorted(places.values())
    # A letter is about 7 units wide.
    assert right - left > 7 * max(map(len, places))
