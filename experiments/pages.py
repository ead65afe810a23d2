"""Writes every table of README and docs that shows measurements again, from `experiments/results`.

    python -m experiments.pages            # tables and plots

A table stands between `<!-- begin FILE -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import documented_tables as documented
from experiments.inference_speed import kernels
from experiments.inference_speed import plots as inference_plots
from experiments.inference_speed import table as inference_speed
from experiments.quality import plots as quality_plots
from experiments.quality import tables as quality
from experiments.scaling import table as scaling
from experiments.training_speed import table as training_speed

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
#: What makes the tables of a file, by the beginning of its name.
RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "quality_": quality.render,
    "training_speed": training_speed.render,
    "inference_speed": inference_speed.render,
    "inference_profile": inference_speed.render_operators,
    "xnnpack_kernels": kernels.render,
    "scaling": scaling.render,
    "quickstart_report": documented.quickstart,
    "planted_need": documented.planted_need,
    "preset_quality": documented.preset_quality,
    "device_parity": documented.device_parity,
    "native_runner": documented.native_runner,
    "original_full_width": documented.original_full_width,
}
#: What draws the picture of a file, by the beginning of its name; it lies beside the file.
PLOTS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "quality_": quality_plots.plot,
    "inference_speed": inference_plots.plot,
    "scaling": scaling.plot,
}


def pages() -> list[Path]:
    """Return README and docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def draw() -> None:
    """Draw the pictures of all results that have one."""
    for file in sorted(RESULTS.glob("*.json")):
        for name, plot in PLOTS.items():
            if file.name.startswith(name):
                plot(json.loads(file.read_text(encoding="utf-8")), file.with_suffix(".png"))


if __name__ == "__main__":
    for page in pages():
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
    draw()
