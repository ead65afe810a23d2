"""One of two training processes, started by torchrun from test_distributed.py.

Trains with the overrides in its arguments and leaves `weights-<process>.json`: a hash of what this
process trained, and its ranks. The first argument may ask for an injected disagreement.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from hydra_mobile.adapters import broadcast
from hydra_mobile.adapters.lora import live_rank_map, lora_parameters
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import load_config
from hydra_mobile.training.run import TrainingRun

PROCESS = int(os.environ["RANK"])


class Watched(TrainingRun):
    """Leaves its weights' hash behind."""

    def _finish(self, setup, strategy):
        digest = hashlib.sha256()
        for parameter in (lora_parameters(setup.model) | setup.projector_parameters()).values():
            digest.update(parameter.detach().numpy().tobytes())
        layers = setup.model.language_model.model.layers
        frozen = [p for n, p in layers.named_parameters() if "lora_" not in n]
        here = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in frozen)
        held = here / sum(p.numel() for p in frozen)
        (Path(self.config.output) / f"held-{PROCESS}.json").write_text(json.dumps(held))
        value = {"weights": digest.hexdigest(), "ranks": dict(live_rank_map(setup.model))}
        (Path(self.config.output) / f"weights-{PROCESS}.json").write_text(json.dumps(value))
        return super()._finish(setup, strategy)


def disagree(rank_map):
    """Process 1 gives one module a smaller rank."""
    if PROCESS == 0:
        return rank_map
    first = next(name for name, rank in rank_map.items() if rank > 2)
    return RankMap({**rank_map, first: rank_map[first] - 2})


if __name__ == "__main__":
    how, *overrides = sys.argv[1:]
    if how == "disagree":
        broadcast.broadcast = disagree
    resume = how == "resume"
    Watched(load_config(None, overrides), print).train(resume)
