"""CONTRIBUTING and docs/architecture.md name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_dependency_order import FLOORS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(r"(?:`|pytest )([\w.]+/[\w./]*)", text))
    # What the pipeline writes is not part of the project.
    written = {"run/", "adapter/", "merged/", "bundle/", "report/"}
    missing = [path for path in paths - written if not (ROOT / path).exists()]
    assert len(paths) > 10
    assert not missing


def test_every_name_is_in_the_module_that_is_named_with_it() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"`(\w+)` in\s`([\w./]+\.py)`", text)
    named += re.findall(r"^\| `(\w+)` \|[^|]*\| `([\w./]+\.py)` \|", text, re.MULTILINE)
    assert len(named) > 15
    missing = [
        (name, path)
        for name, path in named
        if not re.search(rf"^(?:class )?{name}\b", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert not missing


def test_the_picture_of_the_floors_is_the_one_that_is_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    drawn = {int(floor): set(re.findall(r"`(\w+)`", packages)) for floor, packages in rows}
    assert [drawn[floor] for floor in sorted(drawn)] == list(FLOORS)
