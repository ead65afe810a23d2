"""docs/results.md shows what the JSON of the experiments says, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.results_page import PAGE, RESULTS, render, written

NAMED = re.findall(r"<!-- begin (\S+) -->", PAGE.read_text(encoding="utf-8"))


def test_the_page_shows_what_the_results_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(NAMED) >= 3
    assert page.count("<!-- end -->") == len(NAMED)
    assert written(page) == page, "make it again: python -m experiments.results_page"


def test_every_quality_file_is_on_the_page() -> None:
    assert {file.name for file in RESULTS.glob("quality_*_steps.json")} <= set(NAMED)


def _changed(value: Any) -> Any:
    """Every measured number half as large again, every right answer wrong."""
    if isinstance(value, dict):
        return {key: _changed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_changed(part) for part in value]
    if isinstance(value, str) and set(value) == {"0", "1"}:
        return value.translate(str.maketrans("01", "10"))
    return 1.5 * value if isinstance(value, float) else value


@pytest.mark.parametrize("name", NAMED)
def test_a_changed_result_changes_the_page(name: str, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for file in NAMED:
        result = json.loads((RESULTS / file).read_text(encoding="utf-8"))
        (tmp_path / file).write_text(json.dumps(_changed(result) if file == name else result))
    assert written(page, tmp_path) != page


def test_a_file_that_nothing_renders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a name that begins with"):
        render(tmp_path / "other.json")
