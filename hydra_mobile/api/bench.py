"""`bench`: speed, memory and size of models, here or on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.progress import Log, LogProgress, Progress
from hydra_mobile.core.quiet import quietly
from hydra_mobile.evaluation.workers.placement import moved
from hydra_mobile.measurement.plan import Plan
from hydra_mobile.measurement.run import bench as measure
from hydra_mobile.measurement.run import read_result
from hydra_mobile.measurement.table import comparison, rows_of
from hydra_mobile.reporting.notebook import html_table
from hydra_mobile.runtimes.model_ref import distinct, model_at


@dataclass(frozen=True)
class Measurements:
    """What `bench` measured.

    Attributes:
        content: as `bench --json` prints it: plan, environment, and each model's processes.
    """

    content: dict[str, Any]

    @classmethod
    def read(cls, file: str | Path) -> Measurements:
        """Read what `hydra-mobile bench --json` printed into a file.

        Raises:
            HydraError: the file is missing, or holds no such result.
        """
        return cls(read_result(Path(file)))

    @property
    def interrupted(self) -> bool:
        """Whether some models were measured less often than planned, or not at all."""
        return bool(self.content["interrupted"])

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order of the columns of `rows`."""
        return [row["name"] for row in self.content["rows"]]

    def rows(self) -> list[list[str]]:
        """Return the medians with quartiles: a name, then a text for each model."""
        return rows_of(self.content)

    def against(self, earlier: Measurements) -> list[str]:
        """Return the ratios to an earlier result in lines, and what does not compare."""
        return list(comparison(self.content, earlier.content))

    def _repr_html_(self) -> str:
        return html_table(("median [quartiles]", *self.models), self.rows())


def bench(
    models: ModelLike | Sequence[ModelLike],
    *,
    device: str = "host",
    prompt_tokens: int = 64,
    new_tokens: int = 32,
    repeats: int = 5,
    warmup: int = 1,
    rounds: int = 2,
    threads: int = 0,
    log: Log = print,
    progress: Progress | None = None,
) -> Measurements:
    """Measure speed, memory and size of models that take turns, in processes started for it.

    Interrupted, it returns what was measured so far (`interrupted` says so).

    Args:
        models: runs, merged folders, bundles or bases (objects, folders, names or hub ids).
        device: where bundles run: "host", "native", "adb[:SERIAL]", "app[:SERIAL]".
        prompt_tokens: tokens of the prompt, image included.
        new_tokens: tokens of each answer.
        repeats: measured answers of each process.
        warmup: answers before them, left out.
        rounds: processes of each model: the first loads cold, the others warm.
        threads: CPU threads; 0 leaves the choice to the runtime.
        log: receives a line for each wait for a device.
        progress: shows the stage; None: lines of `log`.

    Raises:
        ConfigError: a number is out of range.
        HydraError: the device's timings mean nothing, it is not there, or a measurement failed.
    """
    given: Sequence[Any] = models if isinstance(models, list | tuple) else [models]
    with quietly():
        plan = Plan(prompt_tokens, new_tokens, repeats, warmup, rounds, threads)
        found = distinct(moved([model_at(path_of(model, log)) for model in given], device))
        return Measurements(measure(found, plan, device, log, progress or LogProgress(log)))
