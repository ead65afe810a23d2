"""`RankRecord` and `replay`: the ranks that a run had, shown, drawn and trained again.

Reads files only, so that a run may train meanwhile.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hydra_mobile.adapters.history import FILE, RankHistory
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.core.marks import RUN
from hydra_mobile.core.progress import Log, LogProgress, Progress
from hydra_mobile.core.quiet import quietly
from hydra_mobile.evaluation.results.rank_history import rank_history
from hydra_mobile.reporting.formats import number
from hydra_mobile.reporting.notebook import Svg, html_table
from hydra_mobile.reporting.rank_history import totals
from hydra_mobile.reporting.rank_history_svg import rank_history_file
from hydra_mobile.reporting.tables import rank_events_table
from hydra_mobile.reporting.training_section import RankHistorySection
from hydra_mobile.training.begun import is_begun
from hydra_mobile.training.metrics import MetricsFile

# What a replay decides itself, and the option that says so.
_TAKEN = {"output": "--out", "ranks.policy": "--final", "ranks.map_file": "the run's name"}


@dataclass(frozen=True)
class RankRecord:
    """A run's ranks: every event, the maps in force, and what finding them cost.

    Attributes:
        run: its folder.
        config: what it was started with.
        history: its ranks.jsonl.
        facts: the same as the report shows it.
    """

    run: Path
    config: TrainConfig
    history: RankHistory
    facts: RankHistorySection

    @property
    def finished(self) -> bool:
        """Whether training reached its end."""
        return (self.run / "summary.json").is_file()

    def plot(self) -> Svg:
        """Return a plot: the maps in force, and mean ranks over the steps."""
        return Svg(rank_history_file(self.facts, self.config.ranks.r_ref))

    def _repr_html_(self) -> str:
        events = rank_events_table(self.facts)
        titles = [column.title for column in events.columns]
        table = html_table(titles, ([cell.text for cell in row] for row in events.rows))
        return table + f"<p>{escape(totals(self.facts).words())}</p>" + self.plot()._repr_html_()


def read_record(run: Path) -> RankRecord:
    """Read the ranks of a run, finished or not.

    Raises:
        ArtifactError: no such folder, no run, no ranks, or a damaged history.
    """
    if not run.is_dir():
        raise ArtifactError(f"There is no folder {run}.", "Name the folder of a training run.")
    file = run / "config.yaml"
    if not file.is_file():
        raise ArtifactError(
            f"{run} is no run: {file} is missing.", "Name a folder that `train` wrote."
        )
    config = load_config(file)
    policy = config.ranks.policy
    if policy == "full":
        raise ArtifactError(
            f"{run} has no ranks: policy `full` trains all weights, without adapters.",
            "Name a run of another policy.",
        )
    facts = rank_history(run, _last(run)[0])
    if facts is None:
        raise ArtifactError(
            f"{run} has no rank history: {run / FILE} is missing or empty (policy `{policy}`).",
            "The first ranks are written when stage II begins.",
        )
    return RankRecord(run, config, RankHistory.of_run(run), facts)


def replay(
    run: str | Path,
    out: str | Path | None = None,
    *overrides: str,
    final: bool = False,
    log: Log = print,
    progress: Progress | None = None,
) -> Compared:
    """Train a run again with its recorded ranks; nothing is measured for them.

    Args:
        run: a run folder. It must stay until the new run is finished.
        out: the new run folder; None: `RUN-replay`.
        overrides: `section.key=value` over the run's settings.
        final: train at the last map from the first step on.
        log: receives a line for each event.
        progress: shows the stages; None: lines of `log`.

    Returns:
        How the new run compares with the recorded one.

    Raises:
        ConfigError: `out` exists and is no start that failed, or an override sets what the
            replay decides.
        ArtifactError: there is no run with ranks.
    """
    folder, made = Path(run), replay_folder(Path(run), out)
    read_record(folder)
    refuse_existing(made)
    settings = replay_config(folder, made, final, overrides)
    with quietly():
        from hydra_mobile.training.run import TrainingRun

        TrainingRun(settings, log, progress or LogProgress(log)).train(False)
    return compared(folder, made)


def replay_folder(run: Path, out: str | Path | None) -> Path:
    """Return where a replay goes: `out`, or beside the run."""
    return Path(out) if out is not None else Path(f"{str(run).rstrip('/')}-replay")


def refuse_existing(out: Path) -> None:
    """Raise `ConfigError` if there is anything at `out` but what a start that failed left there."""
    # Of several processes the first may already have made the folder when another looks.
    if os.environ.get("RANK", "0") == "0" and out.exists() and not _failed_start(out):
        raise ConfigError(
            f"{out} already exists.",
            "Choose another folder, or go on with an interrupted replay: "
            f"hydra-mobile train --resume {out}",
        )


def _failed_start(out: Path) -> bool:
    """Whether a folder holds a run without a checkpoint, or no more than its log."""
    return out.is_dir() and not is_begun(out) and RUN.is_on(out)


def replay_config(run: Path, out: Path, final: bool, overrides: Iterable[str]) -> TrainConfig:
    """Return the settings that train `run` again at its recorded ranks.

    Args:
        run: has config.yaml and ranks.jsonl. Its history is named, not copied: it must stay
            until the new run is finished.
        out: the new run folder.
        final: whether the last map holds from the first step on.
        overrides: `section.key=value`.

    Raises:
        ConfigError: an override sets what the replay decides, or is wrong in itself.
        ArtifactError: the run has no recorded map.
    """
    overrides = list(overrides)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in _TAKEN:
            raise ConfigError(f"`{key}` cannot be overridden in a replay.", f"Use {_TAKEN[key]}.")
    history = RankHistory.of_run(run)
    history.final_map()
    config = load_config(run / "config.yaml", overrides)
    ranks = dataclasses.replace(
        config.ranks, policy="fixed" if final else "replay", map_file=str(history.path)
    )
    return dataclasses.replace(config, output=str(out), ranks=ranks)


@dataclass(frozen=True)
class Compared:
    """How a finished replay compares with the run that it repeated.

    Attributes:
        same_map: whether both ended with the same ranks.
        loss: last logged loss of the replay, at `step`.
        recorded_loss: the same of the run, at `recorded_step`.
    """

    same_map: bool
    step: int
    loss: float | None
    recorded_step: int
    recorded_loss: float | None

    def lines(self) -> list[str]:
        """Return it in sentences."""
        return [
            "The last map is the recorded one."
            if self.same_map
            else "The last map is not the recorded one.",
            f"Last logged loss: {number(self.loss, 4)} at step {self.step}, "
            f"recorded {number(self.recorded_loss, 4)} at step {self.recorded_step}.",
        ]

    def to_dict(self) -> dict[str, object]:
        """Return JSON values."""
        return dataclasses.asdict(self)


def compared(run: Path, out: Path) -> Compared:
    """Compare a finished replay `out` with `run`."""
    recorded, repeated = (RankHistory.of_run(folder).final_map() for folder in (run, out))
    (recorded_step, recorded_loss), (step, loss) = _last(run), _last(out)
    return Compared(recorded == repeated, step, loss, recorded_step, recorded_loss)


def _last(run: Path) -> tuple[int, float | None]:
    """Return step and loss of the last logged step of stage II; (0, None) before it."""
    logged = [m for m in MetricsFile(run / "metrics.jsonl").read() if m["stage"] == "stage2"]
    return (int(logged[-1]["step"]), float(logged[-1]["loss"])) if logged else (0, None)
