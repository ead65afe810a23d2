"""Bundles of base `tiny`, made by the registered targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from hydra_export.export import export_bundle
from hydra_export.targets import TARGETS, Limits, Target, target_for
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import MissingPackageError

LIMITS = Limits(max_context=80, max_prefill=16)
#: Every pair that `export --target --runtime` takes.
PAIRS = [(name, runtime) for name, platform in TARGETS.items() for runtime in platform.runtimes]


def platform_of(runtime: str) -> str:
    """Return a target that has the runtime."""
    return next(name for name, platform in TARGETS.items() if runtime in platform.runtimes)


def require(target: Target) -> None:
    """Skip a test whose target cannot be used here."""
    try:
        target.require()
    except MissingPackageError as error:
        pytest.skip(str(error))


def export(
    runtime: str,
    preset: str,
    merged: Path,
    out: Path,
    inputs: Sequence[tuple[Image.Image, str]],
    attention: str = "auto",
    limits: Limits = LIMITS,
) -> Bundle:
    """Export `merged` for a runtime; skips where its packages are missing."""
    target = platform_of(runtime)
    require(target_for(target, runtime))
    return export_bundle(
        merged,
        target=target,
        runtime=runtime,
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=limits,
        attention=attention,
        # The parts of `tiny` are so small that little of them is products.
        min_fast_path=0.0,
    )
