"""Lines of `experiments/scaling`: planted ones come back, and what cannot be fitted is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.scaling.fit import fit
from experiments.scaling.point import config_of, event
from experiments.scaling.predict import computed, lines, predictions
from experiments.scaling.table import plot, render


def _planted(noise: float = 0.0) -> list[dict[str, Any]]:
    """Return rows of 3 s + 0.5 s a layer + 2 s a million weights, and 5 bytes a weight."""
    rows: list[dict[str, Any]] = []
    places = ((2, 64), (4, 64), (2, 128), (12, 128), (8, 256), (30, 512))
    for index, (layers, width) in enumerate(places):
        weights = 8192 * width + layers * 12 * width * width
        place = {"layers": layers, "width": width}
        rows.append(
            {
                **place,
                "runtime": None,
                "preset": None,
                "weights": weights,
                "modules": 7 * layers,
                "lora": weights // 10,
                "step_seconds": [0.4, 0.4],
                "event_seconds": [0.002 * layers, 0.002 * layers],
                "event_in_steps": 0.005 * layers,
            }
        )
        seconds = (3 + 0.5 * layers + 2e-6 * weights) * (1 + noise * (-1) ** index)
        rows.append(
            {
                **place,
                "runtime": "onnx",
                "preset": "int4",
                "seconds": seconds,
                "peak_bytes": 2e8 + 8 * weights,
                "program_bytes": 1e5 + 5 * weights,
                "footprint_bytes": 6 * weights,
            }
        )
    return rows


def test_a_planted_line_comes_back() -> None:
    rows = [
        {"a": float(a), "b": float(b), "y": 2 + 3 * a + 1e6 * b} for a in (1, 2, 5) for b in (1, 4)
    ]
    line = fit(rows, ("a", "b"), "y")
    assert line is not None
    assert line.coefficients == pytest.approx({"one": 2, "a": 3, "b": 1e6}, rel=1e-3)
    assert line.worst < 1e-9
    assert line.at({"a": 10, "b": 0}) == pytest.approx(32, rel=1e-2)


def test_residuals_tell_how_far_a_point_is_off() -> None:
    rows = [{"a": float(a), "y": 10.0 * a} for a in range(1, 8)]
    rows[3]["y"] *= 1.3
    line = fit(rows, ("a",), "y")
    assert line is not None
    assert line.residuals[3] == max(line.residuals) == line.worst
    assert 0.15 < line.worst < 0.3


def test_too_few_points_give_no_line() -> None:
    rows = [{"a": a, "y": 2 * a} for a in (1.0, 2.0, 3.0, 4.0)]
    assert fit(rows[:3], ("a",), "y") is None
    assert fit(rows, ("a",), "y") is not None


def test_published_models_are_predicted_by_the_line() -> None:
    found = lines(_planted())
    seconds = found["onnx int4"]["seconds"]["coefficients"]
    assert seconds == pytest.approx({"one": 3, "layers": 0.5, "weights": 2e-6}, rel=1e-6)
    small, *_, large = [row for row in predictions(_planted()) if row["form"] == "onnx int4"]
    assert small["model"] == "mobilevlm-v2-1.7b"
    assert 1.6e9 < small["weights"] < 1.75e9
    expected = 3 + 0.5 * 24 + 2e-6 * small["weights"]
    assert small["fitted"]["seconds"] == pytest.approx(expected, rel=1e-6)
    assert large["fitted"]["program_bytes"] > small["fitted"]["program_bytes"]


def test_bytes_by_bits_are_those_of_the_preset() -> None:
    full, small = (computed("mobilevlm-v2-1.7b", "onnx", preset) for preset in ("fp32", "int4"))
    assert 0.14 < small["program_bytes"] / full["program_bytes"] < 0.18
    assert small["footprint_bytes"] > small["program_bytes"]


def test_skipped_points_are_named_and_not_fitted() -> None:
    place = {"layers": 30, "width": 2048, "runtime": "onnx", "preset": "int4"}
    rows = [*_planted(), {**place, "skipped": "would take about 26 GiB"}]
    assert lines(rows) == lines(_planted())
    value = {"rows": rows, "lines": lines(rows), "predictions": predictions(rows)}
    text = render(value)
    assert "- onnx int4, would take about 26 GiB: 30x2048" in text
    assert "| 30 | 512 | onnx int4 |" in text
    assert "mobilevlm-v2-3b" in text


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="experiments draw with matplotlib")
    file = tmp_path / "scaling.png"
    plot({"rows": _planted()}, file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_an_event_changes_every_module_within_the_budget() -> None:
    found = event(2, 64, 2)
    assert found["modules"] == 14
    assert len(found["event_seconds"]) == len(found["step_seconds"]) == 2
    assert config_of(2, 64).text_config.num_hidden_layers == 2
