"""LoRA at the ranks that another run had, each from the step at which that run had it."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.importance import Importance
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.training.strategies import StageTwo
from hydra_mobile.training.strategies.lora import LoraStrategy


class ReplayStrategy(LoraStrategy):
    """Policy `replay`: reads the maps of a ranks.jsonl; measures and probes nothing."""

    def __init__(self, stage: StageTwo) -> None:
        file = stage.config.ranks.map_file
        if not file:
            raise ConfigError(
                "Rank policy `replay` needs the ranks.jsonl of a run.",
                "Set ranks.map_file, or use `hydra-mobile ranks replay RUN --out NEW`.",
            )
        history = RankHistory(Path(file))
        history.final_map()  # says what is wrong with the file
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
            self._controller.put(recorded, step, "resized", f"recorded in {source}", self._running)

    def _allocate(self, importance: Importance | None) -> RankMap:
        first = min(self._maps)
        if first != 0:
            raise ConfigError(
                f"{self._file} has its first map at step {first}, expected one at step 0.",
                "Use ranks.policy=fixed for the last map of the file.",
            )
        return self.budget.rank_map(self._maps[0][0])
