"""Tiny checkpoints of families, trained for twenty steps with HyDRA's ranks and merged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra_export.merge import merge
from hydra_mobile.config import load_config
from hydra_mobile.training.run import TrainingRun

_HYDRA = (
    "ranks.policy=hydra",
    # Ranks move within so few steps, and on any sign that they should.
    "ranks.dynamic.least_steps=0",
    "ranks.dynamic.margin=1",
    "stage2.steps=20",
    "stage2.learning_rate=0.01",
)


def train(base: Path, settings: Sequence[str], *changes: str) -> Path:
    """Train stage II alone, as the connector is trained already; return the adapter."""
    config = load_config(None, [*settings, f"base={base}", "data.stage1=", *changes])
    return TrainingRun(config).train()


def train_and_merge(family: str, base: Path, settings: Sequence[str], run: Path) -> None:
    """Train a base of a family into `run`, and merge it into the folder `merged` beside.

    Args:
        family: its name in `tiny_families.BASES`; one that ends in "_tiles" reads two by two.
        base: a checkpoint without tiles.
        settings: of a short run into `run`.
        run: where the training goes.
    """
    changes = list(_HYDRA)
    if family.endswith("_tiles"):
        changes.append("data.tiles=2x2")
    if family == "lfm2_vl":
        # Convolutions over rows would mix questions that share one.
        changes.append("data.share_prefix=false")
    train(base, settings, *changes)
    merge(base, run, run.with_name("merged"))
