"""`evaluate` and `Report`: scores, timings and agreement of any models, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.progress import Log, LogProgress, Progress
from hydra_mobile.core.quiet import quietly
from hydra_mobile.reporting import schema
from hydra_mobile.reporting.bars import LAYOUTS, score_bars
from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.html import table_html
from hydra_mobile.reporting.notebook import Svg
from hydra_mobile.reporting.tables import main_table
from hydra_mobile.reporting.write import read_report


@dataclass(frozen=True)
class Report:
    """An evaluation's report, and the folder that it was written to.

    Attributes:
        path: has report.json, report.md, report.html and the answers.
        content: everything, as report.json has it.
    """

    path: Path
    content: schema.Report

    @classmethod
    def open(cls, path: str | Path) -> Report:
        """Read a written report.

        Raises:
            ArtifactError: there is none, or it is damaged or of another version.
        """
        folder = Path(path)
        return cls(folder, read_report(folder))

    @property
    def scores(self) -> list[dict[str, Any]]:
        """One row per model, benchmark, split and question type; fit for a data frame.

        Keys: `model`, `benchmark`, `split`, `kind`, `value` and its 95% interval `low`, `high`
        (shares in [0, 1], or points where `unit` says so), `n`, `unit`.
        """
        keys = ("benchmark", "split", "kind", "value", "low", "high", "n", "unit")
        return [
            {"model": system.name, **{key: getattr(score, key) for key in keys}}
            for system in self.content.systems
            for score in system.scores
        ]

    def table(self) -> str:
        """Return the main table as plain text, one line per model."""
        table = main_table(self.content)
        rows = [[column.title for column in table.columns]]
        rows += [[cell.text or DASH for cell in row] for row in table.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
            for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def plot(self) -> Svg:
        """Return the scores of every model as a picture.

        Raises:
            ValueError: the report has no score.
        """
        return Svg.of([score_bars(self.content, LAYOUTS[0])])

    def _repr_html_(self) -> str:
        return table_html(main_table(self.content))


def evaluate(
    models: ModelLike | Sequence[ModelLike],
    benchmarks: str | Sequence[str] = ("emojiqa",),
    *,
    data: str | Path,
    out: str | Path = "report",
    splits: Sequence[str] = (),
    limit: int | None = None,
    protocol: str = "",
    threads: int = 0,
    workers: int = 0,
    allow_partial: bool = False,
    device: str = "host",
    torch_device: str = "cpu",
    interpret_coreml: bool = False,
    log: Log = print,
    progress: Progress | None = None,
) -> Report:
    """Answer benchmarks with each model and write one report.

    Questions are answered in worker processes of their own, which need no `__main__` guard.
    Interrupted, the same call goes on at the next question.

    Args:
        models: runs, merged folders, bundles or bases (objects, folders or names); the first
            trained one in torch is the reference of the others.
        benchmarks: their names.
        data: the folder of their files.
        out: the report's folder.
        splits: names of splits; empty: all.
        limit: about how many questions of each split; None: all.
        protocol: "llava-1.5", "mobilevlm", or "BENCHMARK=NAME,..."; "": each benchmark's own.
        threads: CPU threads altogether; 0: all cores.
        workers: processes per model; 0 chooses.
        allow_partial: leave out questions whose image is missing or that do not fit.
        device: where bundles run: "host", "native", "emulator", "adb[:SERIAL]", "app[:SERIAL]".
        torch_device: where torch runs: "cpu" or "cuda".
        interpret_coreml: interpret CoreML bundles where CoreML cannot run.
        log: receives a line for each event.
        progress: shows the stages; None: lines of `log`.

    Raises:
        HydraError: whatever is wrong with models or data, before the first question if possible.
    """
    if (limit is not None and limit < 1) or min(threads, workers) < 0:
        raise ConfigError("limit is at least 1 or None; threads and workers are 0 or more.")
    given: Sequence[Any] = models if isinstance(models, list | tuple) else [models]
    with quietly():
        from hydra_mobile.evaluation.evaluate import EvalSettings
        from hydra_mobile.evaluation.results.report import report_on
        from hydra_mobile.evaluation.workers.placement import moved
        from hydra_mobile.runtimes.model_ref import model_at

        settings = EvalSettings(
            benchmarks=(benchmarks,) if isinstance(benchmarks, str) else tuple(benchmarks),
            data=Path(data),
            splits=tuple(splits),
            limit=limit,
            threads=threads,
            protocol=protocol,
            workers=workers,
            allow_partial=allow_partial,
            interpret_coreml=interpret_coreml,
            torch_device=torch_device,
        )
        placed = moved([model_at(path_of(model)) for model in given], device)
        report = report_on(placed, settings, Path(out), log, progress or LogProgress(log))
        # None is for shards, and there are none here.
        assert report is not None
        return Report(Path(out), report)
