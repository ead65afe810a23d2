"""What the registered benchmarks say about themselves, for reports and pages."""

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


def table() -> str:
    """Return the registered benchmarks as a Markdown table."""
    rows = ["| name | benchmark | what is asked | primary metric | also | data | license |"]
    rows.append("|---" * 7 + "|")
    for name in BENCHMARKS:
        kind = Benchmark.named(name)
        source = f"`{kind.source}`" if not kind.official else f"[source]({kind.source})"
        terms = "; ".join(f"{what}: {license}" for what, license in kind.licenses.items())
        cells = (f"`{name}`", kind.title, kind.about, kind.primary, kind.also, source, terms)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
