"""What benchmarks say about themselves, for reports."""

from __future__ import annotations

from collections.abc import Iterable

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.own.names import is_known


def names(given: Iterable[str]) -> list[str]:
    """Return the names that reports have: of a file or class of one's own, the benchmark's."""
    return [kind.name for kind in _kinds(given)]


def titles(given: Iterable[str]) -> dict[str, str]:
    """Return name -> title of benchmarks; what is none is left out."""
    return {kind.name: kind.title for kind in _kinds(given)}


def licenses(given: Iterable[str]) -> dict[str, str]:
    """Return what -> license of the data of benchmarks; what is none is left out."""
    return {what: terms for kind in _kinds(given) for what, terms in kind.licenses.items()}


def _kinds(given: Iterable[str]) -> list[type[Benchmark]]:
    return [Benchmark.named(name) for name in given if is_known(name)]
