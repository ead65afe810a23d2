"""What the registered benchmarks say about themselves, for reports."""

from __future__ import annotations

from collections.abc import Iterable

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark


def titles(names: Iterable[str]) -> dict[str, str]:
    """Return name -> title of the benchmarks that are registered; others are left out."""
    return {name: Benchmark.named(name).title for name in names if name in BENCHMARKS}


def licenses(names: Iterable[str]) -> dict[str, str]:
    """Return what -> license of the data of the benchmarks that are registered."""
    return {
        what: terms
        for name in names
        if name in BENCHMARKS
        for what, terms in Benchmark.named(name).licenses.items()
    }
