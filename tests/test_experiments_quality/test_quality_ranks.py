"""The summary of rank events: means of the last map, and what probes and the model said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from experiments.quality.ranks import probes, summary, tell


def lines(*events: dict[str, Any]) -> list[str]:
    return [json.dumps(event) for event in events]


def test_the_last_map_counts() -> None:
    names = [f"m.layers.{n}.{part}" for n in range(3) for part in ("a.q_proj", "b.up_proj")]
    first = {"event": "initial", "ranks": dict.fromkeys(names, 4)}
    last = {"event": "allocate", "ranks": dict(zip(names, (2, 4, 4, 8, 6, 12), strict=True))}
    found = summary(lines(first, last))
    assert found["mean_rank"] == {
        "q_proj": 4,
        "up_proj": 8,
        "first third": 3,
        "middle third": 6,
        "last third": 9,
    }
    assert found["events"] == {"initial": 1, "allocate": 1}
    runs = [{"arm": "x", "ranks": found}, {"arm": "even", "ranks": summary(lines(first))}]
    assert tell(runs)[2:] == ["| x | 4.0 | 8.0 | 3.0 | 6.0 | 9.0 |"]
    assert tell(runs[1:]) == []


def test_probes_are_told_with_their_gains() -> None:
    events = lines(
        {"event": "initial", "ranks": {"m.layers.0.q_proj": 4}},
        {"event": "observe", "realised": {"gain": 0.02}},
        {"event": "observe", "realised": {"gain": -0.04}},
        {"event": "abstain", "reason": "abstained: too few", "prediction": {"observations": 2}},
    )
    found = summary(events)
    assert found["last_gate"] == {"observations": 2}
    (sentence,) = probes([{"arm": "hydra", "ranks": found}])
    assert "1 run: 2 probes, gain -0.0100 ± 0.0300 nats" in sentence
    assert "ranks 0 times" in sentence
    assert "too few" in sentence


def test_a_run_without_maps_has_no_summary() -> None:
    assert summary([]) == {}
    with pytest.raises(ValueError, match="head"):
        summary(lines({"event": "initial", "ranks": {"head": 4}}))
