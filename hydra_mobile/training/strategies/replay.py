"""LoRA at the ranks that another run had, each from the step at which that run had it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.training.strategies import StageTwo
from hydra_mobile.training.strategies.lora import LoraStrategy, require_map_file


class ReplayStrategy(LoraStrategy):
    """Policy `replay`: reads the maps of a ranks.jsonl; measures and probes nothing."""

    title = "the ranks of a ranks.jsonl, each from the step at which that run had it"

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        """Refuse a file of ranks that is not there."""
        require_map_file(config)

    def __init__(self, stage: StageTwo) -> None:
        file = stage.config.ranks.map_file
        history = RankHistory(Path(file))
        history.final_map()  # raises what is wrong with the file
        self._file = Path(file)
        # Every change in turn, two of one step included: the order decides which rows are new.
        self._maps: dict[int, list[RankMap]] = {}
        for event, rank_map in history.in_force():
            if event.ranks is not None and rank_map is not None:
                self._maps.setdefault(event.step, []).append(rank_map)
        super().__init__(stage)

    def after_step(self, step: int) -> None:
        """Bring the recorded map of this step, if there is one."""
        super().after_step(step)
        source = f"{self._file.parent.name}/{self._file.name}"
        for recorded in self._maps.get(step, []):
            self.hydra.put(recorded, step, "resized", f"recorded in {source}")

    def _rank_policy(self) -> str:
        # The policy whose ranks are given and stay, as far as the engine is concerned.
        return "fixed"

    def _first_ranks(self) -> Mapping[str, int]:
        first = min(self._maps)
        if first != 0:
            raise ConfigError(
                f"{self._file} has its first map at step {first}, expected one at step 0.",
                "Use ranks.policy=fixed for the last map of the file.",
            )
        return self._maps[0][0]
