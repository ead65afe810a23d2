"""Writes the tables of `docs/results.md` again, each from its JSON in `experiments/results`.

    python -m experiments.results_page

A table stands between `<!-- begin FILE -->` and `<!-- end -->`. Knows which experiment renders
which file; a test holds the page to what this would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.inference_speed import table as inference_speed
from experiments.quality import tables as quality
from experiments.scaling import table as scaling
from experiments.training_speed import table as training_speed

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
#: What makes the tables of a file, by the beginning of its name.
RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "quality_": quality.render,
    "training_speed": training_speed.render,
    "inference_speed": inference_speed.render,
    "inference_profile": inference_speed.render_operators,
    "scaling": scaling.render,
}


def render(file: Path) -> str:
    """Return the tables of one result file."""
    found = [make for name, make in RENDERERS.items() if file.name.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"{file.name}: expected a name that begins with one of {list(RENDERERS)}")
    return found[0](json.loads(file.read_text(encoding="utf-8")))


def written(page: str, results: Path = RESULTS) -> str:
    """Return a page (Markdown) with the tables between its marks made again."""

    def again(mark: re.Match[str]) -> str:
        return f"<!-- begin {mark[1]} -->\n{render(results / mark[1])}<!-- end -->"

    return re.sub(r"<!-- begin (\S+) -->\n.*?<!-- end -->", again, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
