"""What this machine's last work took is a file of the cache: damaged, it is as if it never was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hydra_mobile.estimation.cost import cost_of
from hydra_mobile.estimation.measured import remember


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    remember("work", 10, 5.0, 1 << 20)
    return tmp_path / "measured.json"


def test_what_was_measured_is_the_basis(file: Path, tmp_path: Path) -> None:
    found = cost_of("work", 20, tmp_path)
    assert found.seconds == 10.0
    assert found.peak_bytes == 1 << 20
    assert "last work" in found.basis


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seconds": value} for value in (float("inf"), float("nan"), 1e308, -1, "5", [5], None)),
        *({"units": value} for value in (0, 1e-300, float("nan"), "many", True)),
        *({"peak_bytes": value} for value in (-1, float("nan"), 1 << 90, "many", 0.5)),
        *({"when": value} for value in ("today", 1e300, -5, None)),
        {"more": 1},
    ],
    ids=str,
)
def test_a_value_that_is_none_counts_as_never_measured(
    wrong: dict[str, object], file: Path, tmp_path: Path
) -> None:
    text = json.loads(file.read_text())
    text["measured"]["work"].update(wrong)
    file.write_text(json.dumps(text))
    found = cost_of("work", 20, tmp_path)
    assert found.seconds is None
    assert found.peak_bytes is None
    assert found.basis == cost_of("never", 20, tmp_path).basis


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text(file.read_text()[:-20]),
        lambda file: file.write_text('{"schema": 1, "measured": ' + "9" * 5000 + "}"),
        lambda file: file.write_text('{"schema": 1, "measured": [1]}'),
        lambda file: file.write_text('{"schema": 99, "measured": {"work": 1}}'),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_a_damaged_file_is_none_and_is_written_anew(
    damage: Callable[[Path], object], file: Path, tmp_path: Path
) -> None:
    damage(file)
    assert cost_of("work", 20, tmp_path).seconds is None
    if file.is_file():
        remember("work", 10, 5.0, None)
        assert cost_of("work", 20, tmp_path).seconds == 10.0
    else:
        remember("work", 10, 5.0, None)  # it costs the next estimate, not this work
