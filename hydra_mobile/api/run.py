"""`Run`: a training run's folder, finished or interrupted, as an object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.api.ranks import RankRecord, read_record
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json
from hydra_mobile.core.registry import nearest
from hydra_mobile.reporting.notebook import Svg, html_facts
from hydra_mobile.reporting.plots import loss_picture, rank_pictures
from hydra_mobile.reporting.training_section import LossPoint
from hydra_mobile.training.metrics import MetricsFile

Plot = Literal["loss", "ranks"]


@dataclass(frozen=True)
class Run:
    """A run folder. Everything is read from disk when it is asked for.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return the run in a folder, whether it is finished or not.

        Raises:
            ArtifactError: the folder holds no run.
        """
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise ArtifactError(f"{folder} is not a run: run.json is missing.")
        return cls(folder)

    @property
    def config(self) -> TrainConfig:
        """The settings that the run was started with."""
        return load_config(self.path / "config.yaml")

    @property
    def finished(self) -> bool:
        """Whether training reached its end."""
        return (self.path / "summary.json").is_file()

    @property
    def adapter(self) -> Path | None:
        """The adapter folder, which plain peft loads; None before the end and for policy `full`."""
        folder = self.path / "adapter"
        return folder if folder.is_dir() else None

    @property
    def merged(self) -> Path | None:
        """The merged folder; None where nothing was merged yet."""
        folder = self.path / "merged"
        return folder if folder.is_dir() else None

    @property
    def rank_map(self) -> RankMap | None:
        """The ranks that were trained; None where there is none yet, and for policy `full`."""
        file = self.path / "rank_map.json"
        return RankMap.read(file) if file.is_file() else None

    @property
    def ranks(self) -> RankRecord:
        """Every rank event, the maps in force and what finding them cost; also while it trains.

        Raises:
            ArtifactError: nothing is recorded yet, or policy `full` has no ranks.
        """
        return read_record(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: `stage`, `step`, `loss`, ...; fit for a data frame."""
        return MetricsFile(self.path / "metrics.jsonl").read()

    @property
    def summary(self) -> dict[str, Any]:
        """Parameters, seconds and memory of a finished run.

        Raises:
            ArtifactError: the run is not finished.
        """
        found: dict[str, Any] = read_json(self.path / "summary.json", "a finished run")
        return found

    def plot(self, what: Plot = "loss") -> Svg:
        """Return a plot: the "loss" over the steps, or the "ranks" of all modules.

        Raises:
            HydraError: there is nothing to show yet, or no such picture.
        """
        if what not in ("loss", "ranks"):
            raise HydraError(f"Unknown plot `{what}`.", nearest(what, ("loss", "ranks")))
        pictures = [self._loss()] if what == "loss" else self._ranks()
        if not any(pictures):
            raise HydraError(
                f"{self.path} has no {what} to show yet.", "Train first, or choose another plot."
            )
        return Svg.of(pictures)

    def _loss(self) -> str:
        return loss_picture(
            LossPoint(m["stage"], m["step"], m["loss"]) for m in self.metrics if "loss" in m
        )

    def _ranks(self) -> list[str]:
        ranks = self.rank_map
        return rank_pictures(ranks, self.config.ranks.r_ref) if ranks else []

    def _repr_html_(self) -> str:
        config = self.config
        facts: list[tuple[str, object]] = [
            ("base", config.base),
            ("ranks", f"{config.ranks.policy}, reference rank {config.ranks.r_ref}"),
            ("state", "finished" if self.finished else "not finished; resume=True continues"),
        ]
        if metrics := self.metrics:
            last = metrics[-1]
            facts.append(("last step", f"{last['stage']} {last['step']}, loss {last['loss']:.3f}"))
        pictures = [Svg.of(p) for p in ([self._loss()], self._ranks()) if any(p)]
        drawn = "".join(picture._repr_html_() for picture in pictures)
        return html_facts(f"Run {self.path}", facts) + drawn
