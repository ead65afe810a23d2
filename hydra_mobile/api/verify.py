"""`verify`: whether every form of a model computes the same, up to the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.folders import require_replaceable
from hydra_mobile.core.marks import REPORT
from hydra_mobile.core.progress import Log
from hydra_mobile.core.quiet import quietly
from hydra_mobile.parity.comparison import Comparison
from hydra_mobile.parity.suite import ParityResult

if TYPE_CHECKING:
    from hydra_mobile.parity.task_score import TaskSubset

__all__ = ["Comparison", "ParityResult", "recorded_run", "verify"]


def verify(
    bundle: ModelLike,
    *,
    run: ModelLike | None = None,
    merged: ModelLike | None = None,
    program: ModelLike | None = None,
    benchmark: str = "emojiqa",
    data: str | Path | None = None,
    limit: int | None = 100,
    device: str = "host",
    report: str | Path | None = None,
    log: Log = print,
) -> ParityResult:
    """Check that a bundle computes what the merged model computed.

    With `run` or `merged`, also that adapter, merged model and bundle compute the same.

    Args:
        bundle: a bundle (object or folder), or `BUNDLE#NAME` for another of its adapters.
        run: the run or adapter folder to compare with its merged model.
        merged: the merged folder that the bundle was exported from; None: that of the run.
        program: an fp32 bundle of the same model, to compare a quantized one with.
        benchmark: that `data` is of.
        data: its folder: every form answers a slice, and the change of the score is judged.
        limit: about how many questions of each split; None: all.
        device: "host", "native", "emulator" or "adb[:SERIAL]", where the bundle also runs.
        report: folder of a report that gets a row for each comparison; None: none.
        log: receives a line now and then.

    Returns:
        All comparisons; `require()` raises `ParityError` unless all of them hold.

    Raises:
        ArtifactError: a folder is incomplete, altered, or of another model.
        HydraError: what was given cannot be compared.
    """
    with quietly():
        from hydra_mobile.evaluation.workers.placement import runner_on
        from hydra_mobile.parity.suite import run_suite

        folder = Path(path_of(bundle, log))
        if report is not None:
            require_replaceable(Path(report), REPORT)
        result = run_suite(
            folder,
            adapter=Path(path_of(run, log)) if run is not None else None,
            merged=Path(path_of(merged, log)) if merged is not None else None,
            program=Path(path_of(program, log)) if program is not None else None,
            device=runner_on(device, folder),
            questions=_subset(benchmark, Path(data), limit) if data is not None else None,
            log=log,
        )
        if report is not None:
            from hydra_mobile.reporting.write import add_parity

            add_parity(Path(report), result.rows())
        return result


def recorded_run(bundle: ModelLike) -> Path | None:
    """Return the run whose folder a bundle is in, if the bundle is of its merged model.

    Raises:
        ArtifactError: the bundle's manifest cannot be read.
    """
    from hydra_mobile.core.model_folder import has_weights, weights_sha256

    folder = Path(path_of(bundle))
    for run in folder.absolute().parents:
        merged = run / "merged"
        if (run / "run.json").is_file() and (merged / "merge.json").is_file():
            made_of = Bundle.open(folder, verify_hashes=False).manifest["sources"]
            if has_weights(merged) and weights_sha256(merged) == made_of.get("merged_sha256"):
                return run
    return None


def _subset(benchmark: str, data: Path, limit: int | None) -> TaskSubset:
    from hydra_mobile.benchmarks.base import Benchmark
    from hydra_mobile.parity.task_score import TaskSubset

    return TaskSubset(Benchmark.open(benchmark, data), limit)
