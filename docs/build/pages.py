"""Fills README and docs with what the experiments measured and the registries hold.

    python -m docs.build.pages             # tables, figures and plots

A table stands between `<!-- begin FILE -->` and `<!-- end -->`, FILE being a path below
`experiments`; a figure in a sentence between `<!-- n:NAME -->` and `<!-- /n -->`; the entries of a
registry between `<!-- registry NAME -->` and `<!-- /registry -->`.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from docs.build.figures import figures
from docs.build.registries import REGISTRIES
from experiments.devices import table as devices
from experiments.inference_speed import decoders, kernels, native_table, pictures, roofline
from experiments.inference_speed import plots as inference_plots
from experiments.inference_speed import table as inference_speed
from experiments.memory import exports
from experiments.memory import table as memory
from experiments.planted_need import table as planted_need
from experiments.presets import table as presets
from experiments.qat import table as qat
from experiments.quality import plots as quality_plots
from experiments.quality import screen
from experiments.quality import table as quality
from experiments.quickstart import parts as quickstart_parts
from experiments.quickstart import table as quickstart
from experiments.quickstart import tutorial
from experiments.scaling import table as scaling
from experiments.startup import run as startup
from experiments.training_speed import table as training_speed

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
#: What makes the table of a result file.
RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "quality/result_*.json": quality.render,
    "quality/screen.json": screen.render,
    "training_speed/result.json": training_speed.render,
    "inference_speed/result.json": inference_speed.render,
    "inference_speed/profile.json": inference_speed.render_operators,
    "inference_speed/roofline.json": roofline.render,
    "inference_speed/kernels.json": kernels.render,
    "inference_speed/onnx_kernels.json": kernels.render,
    "inference_speed/pictures.json": pictures.render,
    "inference_speed/decoders.json": decoders.render,
    "inference_speed/native_runner.json": native_table.render,
    "scaling/result.json": scaling.render,
    "startup/result.json": startup.render,
    "quickstart/result.json": quickstart.render,
    "quickstart/parts.json": quickstart_parts.render,
    "quickstart/tutorial.json": tutorial.render,
    "planted_need/result.json": planted_need.render,
    "planted_need/trailing.json": planted_need.render_trailing,
    "presets/result.json": presets.render,
    "presets/calibration.json": presets.render_calibration,
    "qat/result.json": qat.render,
    "devices/device_parity.json": devices.render,
    "devices/routes.json": devices.render_routes,
    "devices/app_loop_fp32.json": devices.render_app_loop,
    "devices/apk_sizes.json": devices.render_apk_sizes,
    "devices/processors.json": devices.render_processors,
    "memory/original_full_width.json": memory.render,
    "memory/exports.json": exports.render,
}
#: What draws the plot of a result file; it goes beside the file, `plot` in place of `result`.
PLOTS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "quality/result_*.json": quality_plots.plot,
    "inference_speed/result.json": inference_plots.plot,
    "scaling/result.json": scaling.plot,
}
TABLE = re.compile(r"<!-- begin (\S+) -->\n.*?<!-- end -->", re.DOTALL)
REGISTRY = re.compile(r"<!-- registry (\S+) -->\n.*?<!-- /registry -->", re.DOTALL)
FIGURE = re.compile(r"<!-- n:(\S+) -->(.*?)<!-- /n -->", re.DOTALL)


def pages() -> list[Path]:
    """Return README, docs, the list of third parties and the experiments' own pages."""
    return [
        ROOT / "README.md",
        ROOT / "THIRD_PARTY.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted(EXPERIMENTS.rglob("*.md")),
    ]


def render(name: str, experiments: Path = EXPERIMENTS) -> str:
    """Return the tables of one result file, a path below `experiments`."""
    make = _of(name, RENDERERS)
    if make is None:
        raise ValueError(f"{name}: no table is made of it; expected one of {list(RENDERERS)}")
    return make(json.loads((experiments / name).read_text(encoding="utf-8")))


def filled(page: str, experiments: Path = EXPERIMENTS) -> str:
    """Return a page (Markdown) with its tables and figures as results and registries have them."""
    measured = figures(experiments) if FIGURE.search(page) else {}

    def figure(mark: re.Match[str]) -> str:
        if mark[1] not in measured:
            raise ValueError(f"`{mark[1]}` is not a figure; expected one of {sorted(measured)}")
        return f"<!-- n:{mark[1]} -->{measured[mark[1]]}<!-- /n -->"

    def table(mark: re.Match[str]) -> str:
        return f"<!-- begin {mark[1]} -->\n{render(mark[1], experiments)}<!-- end -->"

    def registry(mark: re.Match[str]) -> str:
        if mark[1] not in REGISTRIES:
            raise ValueError(f"`{mark[1]}` is not a registry; expected one of {list(REGISTRIES)}")
        return f"<!-- registry {mark[1]} -->\n{REGISTRIES[mark[1]]()}<!-- /registry -->"

    return FIGURE.sub(figure, TABLE.sub(table, REGISTRY.sub(registry, page)))


def plot_of(result: Path) -> Path:
    """Return the picture that belongs to a result file."""
    return result.with_name(result.name.replace("result", "plot")).with_suffix(".png")


def draw() -> None:
    """Draw the plots of all results that have one."""
    for file in sorted(EXPERIMENTS.rglob("*.json")):
        plot = _of(file.relative_to(EXPERIMENTS).as_posix(), PLOTS)
        if plot:
            plot(json.loads(file.read_text(encoding="utf-8")), plot_of(file))


def _of(name: str, table: dict[str, T]) -> T | None:
    return next((item for pattern, item in table.items() if fnmatch.fnmatch(name, pattern)), None)


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    draw()
