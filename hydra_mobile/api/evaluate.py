"""`evaluate` and `Report`: scores, timings and agreement of any models, side by side.

`evaluation_of` is `evaluate` in two steps: what will be done can be shown before it is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.folders import require_replaceable
from hydra_mobile.core.marks import REPORT
from hydra_mobile.core.progress import SILENT, Log, LogProgress, Progress, silent
from hydra_mobile.core.quiet import quietly
from hydra_mobile.evaluation.evaluate import EvalSettings
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.reporting import schema
from hydra_mobile.reporting.bars import score_bars
from hydra_mobile.reporting.formats import DASH
from hydra_mobile.reporting.notebook import Svg
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.tables import main_table
from hydra_mobile.reporting.write import read_report

if TYPE_CHECKING:
    from hydra_mobile.estimation.cost import Cost
    from hydra_mobile.evaluation.store.merge_shards import Merged
    from hydra_mobile.runtimes.model_ref import ModelRef

__all__ = [
    "EvalSettings",
    "Evaluation",
    "Report",
    "Shard",
    "evaluate",
    "evaluation_of",
    "merge_shards",
    "side_by_side",
]


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
    def files(self) -> list[Path]:
        """The report as a page, as Markdown and as JSON."""
        files = (self.path / f"report.{kind}" for kind in ("html", "md", "json"))
        return [file for file in files if file.is_file()]

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
        """Return the scores of every model as a plot.

        Raises:
            ValueError: the report has no score.
        """
        return Svg.of([score_bars(self.content)])

    def _repr_html_(self) -> str:
        return table_html(main_table(self.content))


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that can be run.

    Attributes:
        models: what answers, as the report names it.
        settings: benchmarks, sizes, processes.
        out: the report's folder.
    """

    models: tuple[ModelRef, ...]
    settings: EvalSettings
    out: Path

    @property
    def questions(self) -> dict[tuple[str, str], int]:
        """How many questions each model answers, by benchmark and split; opens the data."""
        counts: dict[tuple[str, str], int] = {}
        for spec in self.settings.specs:
            for question in spec.questions:
                key = (spec.benchmark.name, spec.samples[question.index].split)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def run(self, log: Log = silent, progress: Progress = SILENT) -> Report | None:
        """Answer and report; None where this process answered a part and others have the rest."""
        from hydra_mobile.estimation.measured import measuring
        from hydra_mobile.evaluation.results.report import report_on

        fresh = self.settings.shard.whole and not (self.out / "answers").exists()
        with quietly(), contextlib.ExitStack() as stack:
            if fresh:
                # Where nothing was answered before, the time is that of all answers.
                stack.enter_context(measuring(self._key, max(1, self.answers), here=False))
            report = report_on(list(self.models), self.settings, self.out, log, progress)
        return None if report is None else Report(self.out, report)

    def answer(self, progress: Progress = SILENT) -> None:
        """Answer alone; `run` of the same models and more measures speed later, and reports."""
        from hydra_mobile.evaluation.evaluate import answer

        with quietly():
            answer(list(self.models), self.settings, self.out, progress)

    @property
    def answers(self) -> int:
        """How many answers all models give."""
        return len(self.models) * sum(self.questions.values())

    @property
    def _key(self) -> str:
        from hydra_mobile.estimation.kinds import evaluation_key

        s = self.settings
        return evaluation_key(
            self.models, s.benchmarks, s.protocol, s.torch_device, s.threads, s.workers
        )

    @property
    def cost(self) -> Cost:
        """The time that the last evaluation of the same kind took on this machine, per answer."""
        from hydra_mobile.estimation.cost import cost_of

        return cost_of(self._key, self.answers, self.out)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "models": [
                {"name": m.name, "path": str(m.path), "kind": m.kind, "runtime": m.runner}
                for m in self.models
            ],
            "questions": [
                {"benchmark": benchmark, "split": split, "count": count}
                for (benchmark, split), count in self.questions.items()
            ],
            "answers": self.answers,
            "torch_device": self.settings.torch_device,
            "out": str(self.out),
            "cost": self.cost.to_dict(),
        }


def evaluation_of(
    models: ModelLike | Sequence[ModelLike],
    settings: EvalSettings,
    out: str | Path = "report",
    device: str = "host",
) -> Evaluation:
    """Return what `evaluate` would run; models, folder and device are those of `evaluate`.

    Args:
        models: what answers.
        settings: benchmarks, sizes, processes; torch may run on "auto".
        out: the report's folder.
        device: where bundles run.

    Raises:
        ArtifactError: `out` holds something else than a report or answers.
        ConfigError: a number is out of its range.
        HydraError: there is no such model, device or GPU; the device cannot run one of them.
    """
    require_replaceable(Path(out), REPORT)
    if (settings.limit is not None and settings.limit < 1) or (
        min(settings.threads, settings.workers) < 0
    ):
        raise ConfigError("limit is at least 1 or None; threads and workers are 0 or more.")
    given: Sequence[Any] = models if isinstance(models, list | tuple) else [models]
    with quietly():
        from hydra_mobile.evaluation.workers.placement import moved
        from hydra_mobile.runtimes.model_ref import model_at

        settings = replace(settings, torch_device=_torch_device(settings.torch_device))
        placed = moved([model_at(path_of(model)) for model in given], device)
        return Evaluation(tuple(placed), settings, Path(out))


def _torch_device(wanted: str) -> str:
    """Return "cpu" or "cuda"; "auto" is the GPU where torch sees one."""
    if wanted not in ("auto", "cuda"):
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError(
            "torch sees no GPU",
            "--torch-device cpu",
            where="--torch-device",
            found="cuda, without a CUDA device",
        )
    return "cpu"


def evaluate(
    models: ModelLike | Sequence[ModelLike],
    benchmarks: str | Sequence[str] = ("emojiqa",),
    *,
    data: str | Path = ".",
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
        benchmarks: their names; or files of questions ("my_test.jsonl", "my_test.jsonl:anls"), or
            classes of your own ("signs.py:Signs").
        data: the folder of the benchmarks' files; a file of questions needs none.
        out: the report's folder.
        splits: names of splits; empty: all.
        limit: about how many questions of each split; None: all.
        protocol: a name such as "llava-1.5", or "BENCHMARK=NAME,..."; "": each benchmark's own.
        threads: CPU threads altogether; 0: all cores.
        workers: processes per model; 0 chooses.
        allow_partial: leave out questions whose image is missing or that do not fit.
        device: where bundles run: "host", "native", "emulator", "adb[:SERIAL]", "app[:SERIAL]".
        torch_device: where torch runs: "cpu", "cuda", or "auto".
        interpret_coreml: interpret CoreML bundles where CoreML cannot run.
        log: receives a line for each event.
        progress: shows the stages; None: lines of `log`.

    Raises:
        HydraError: whatever is wrong with models or data, before the first question if possible.
    """
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
    evaluation = evaluation_of(models, settings, out, device)
    report = evaluation.run(log, progress or LogProgress(log))
    # None is for parts, and this is the whole.
    assert report is not None
    return report


def merge_shards(
    folders: Sequence[str | Path], out: str | Path, *, allow_partial: bool = False
) -> list[Merged]:
    """Put answers that were given in parts together, where `evaluate` with this `out` goes on.

    Args:
        folders: what `hydra-mobile evaluate --shard` wrote, or folders above it.
        out: folder for the whole.
        allow_partial: merge although parts or answers are missing.

    Raises:
        ArtifactError: `out` holds something else than a report or answers.
        DataError: the parts are not those of one whole; says how they differ.
    """
    require_replaceable(Path(out), REPORT)
    from hydra_mobile.evaluation.store.merge_shards import merge_all

    return merge_all([Path(folder) for folder in folders], Path(out), allow_partial=allow_partial)


def side_by_side(
    results: Sequence[str | Path],
    out: str | Path = "report",
    *,
    data: str | Path | None = None,
    title: str = "",
) -> Report:
    """Put results of several evaluations into one report.

    Args:
        results: folders of reports, report.json files, or what `score --json` printed.
        out: folder of the new report.
        data: folder of the benchmarks' data, to compare models of different reports question by
            question; None: no such comparison.
        title: of the page; "": made of the names.

    Raises:
        ArtifactError: `out` holds something else than a report or answers.
        HydraError: a result is missing, damaged, there twice, or where the new one is to go.
    """
    require_replaceable(Path(out), REPORT)
    from hydra_mobile.evaluation.results.report_merge import results_beside
    from hydra_mobile.reporting.write import write_report

    folder = Path(out)
    made = results_beside(
        [Path(result) for result in results],
        folder,
        data=Path(data) if data is not None else None,
        title=title,
    )
    write_report(made, folder)
    return Report(folder, made)
