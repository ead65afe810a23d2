"""The arms of the comparison: what differs between them is the rank policy and nothing else.

An arm is a set of overrides of the training configuration. Data, their order, initial weights of
what all have, learning rates and the number of steps are the same for all arms of one seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """A parameter budget: what uniform LoRA of rank `r_ref` costs.

    Attributes:
        r_ref: the reference rank; alpha is twice that.
        rank_step: ranks are multiples of it.
        r_min: smallest rank.
    """

    r_ref: int
    rank_step: int
    r_min: int

    @property
    def overrides(self) -> list[str]:
        """Return the keys of `ranks` that all arms share."""
        return [
            f"ranks.r_ref={self.r_ref}",
            f"ranks.alpha_ref={2 * self.r_ref}",
            f"ranks.rank_step={self.rank_step}",
            f"ranks.r_min={self.r_min}",
            "ranks.calibration_batches=8",
            "ranks.dynamic.candidates=1",
            "ranks.dynamic.probe_steps=6",
            "ranks.dynamic.holdout_batches=2",
        ]


SETTINGS = {"low": Setting(2, 1, 1), "moderate": Setting(16, 4, 4)}

#: What every other arm is compared with.
REFERENCE = "uniform"
#: HyDRA as specified: coarse + fine + dynamic.
HYDRA = "hydra"
#: Uniform LoRA with as many more steps as HyDRA's time would pay for.
LONGER = "uniform_longer"

#: Arm -> overrides. The order is the order of running: the main comparison first.
ARMS: dict[str, list[str]] = {
    REFERENCE: ["ranks.policy=uniform"],
    HYDRA: ["ranks.policy=hydra"],
    "coarse_fine": ["ranks.policy=coarse_fine"],
    "coarse": ["ranks.policy=coarse"],
    "random": ["ranks.policy=random"],
    "reversed": ["ranks.policy=reversed"],
    "adalora": ["ranks.policy=adalora"],
    "full": ["ranks.policy=full"],
    LONGER: ["ranks.policy=uniform"],
}

#: Variants of HyDRA that related work suggests; the same budget. Run on demand: `--arms`.
VARIANTS: dict[str, list[str]] = {
    # What the adapters learned in the warm-up tells more than where gradients are large.
    "hydra_update": ["ranks.policy=hydra", "ranks.importance=update"],
    "hydra_calibration": ["ranks.policy=hydra", "ranks.importance=calibration"],
    "coarse_fine_update": ["ranks.policy=coarse_fine", "ranks.importance=update"],
    "coarse_fine_calibration": ["ranks.policy=coarse_fine", "ranks.importance=calibration"],
    # A narrow spread of the budget: no module below half of the reference rank.
    "coarse_fine_narrow": ["ranks.policy=coarse_fine", "ranks.r_min={half}"],
    # The learning rate that all arms share, halved and doubled, for both sides of the comparison.
    "uniform_half_rate": ["ranks.policy=uniform", "stage2.learning_rate=2.5e-4"],
    "uniform_double_rate": ["ranks.policy=uniform", "stage2.learning_rate=1e-3"],
    "hydra_half_rate": ["ranks.policy=hydra", "stage2.learning_rate=2.5e-4"],
    "hydra_double_rate": ["ranks.policy=hydra", "stage2.learning_rate=1e-3"],
    # A along the leading directions of the gradient, for both sides of the comparison.
    "uniform_aligned": ["ranks.policy=uniform", "ranks.initialization=gradient"],
    "coarse_fine_aligned": [
        "ranks.policy=coarse_fine",
        "ranks.importance=calibration",
        "ranks.initialization=gradient",
    ],
    # The budget by shape instead of measurement (`maps.py`).
    "early": ["ranks.policy=fixed", "ranks.map_file={maps}/early.json"],
    "late": ["ranks.policy=fixed", "ranks.map_file={maps}/late.json"],
    "mlp": ["ranks.policy=fixed", "ranks.map_file={maps}/mlp.json"],
    "attention": ["ranks.policy=fixed", "ranks.map_file={maps}/attention.json"],
    # Probes at whatever they cost: enough observations for the performance model in a short run.
    "hydra_probing": [
        "ranks.policy=hydra",
        "ranks.importance=update",
        "ranks.dynamic.candidates=2",
        "ranks.dynamic.probe_share=9",
    ],
    # Fewer, longer probes.
    "hydra_rare": [
        "ranks.policy=hydra",
        "ranks.dynamic.every=0.15",
        "ranks.dynamic.probe_steps=12",
    ],
}


def overrides_of(arm: str, setting: Setting, maps: Path) -> list[str]:
    """Return what an arm changes in the configuration, budget included.

    Args:
        arm: of `ARMS` or `VARIANTS`.
        setting: the budget.
        maps: folder of the maps by shape.
    """
    chosen = {**ARMS, **VARIANTS}[arm]
    half = max(setting.r_min, setting.r_ref // 2)
    return [*setting.overrides, *(item.format(half=half, maps=maps) for item in chosen)]
