"""Tables of what the registries hold, for pages: a new entry is on the page by being registered."""

from __future__ import annotations

from collections.abc import Callable

from docs.build import downloads
from hydra_mobile.adapters.policies import POLICIES, policy_named
from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.models.families import FAMILIES, family_named


def policies() -> str:
    """Return the table of rank policies (Markdown)."""
    rows = [f"| `{name}` | {policy_named(name).title} |" for name in POLICIES]
    return "\n".join(["| policy | ranks |", "|---|---|", *rows, ""])


def benchmarks() -> str:
    """Return the table of benchmarks (Markdown)."""
    rows = ["| name | benchmark | what is asked | primary metric | also | data | license |"]
    rows.append("|---" * 7 + "|")
    for name in BENCHMARKS:
        kind = Benchmark.named(name)
        source = f"`{kind.source}`" if not kind.official else f"[source]({kind.source})"
        terms = "; ".join(f"{what}: {license}" for what, license in kind.licenses.items())
        cells = (f"`{name}`", kind.title, kind.about, kind.primary, kind.also, source, terms)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def families_of_models() -> str:
    """Return the table of model families (Markdown)."""
    rows = []
    for name in FAMILIES:
        family = family_named(name)
        kinds = ", ".join(f"`{kind}`" for kind in family.model_types)
        rows.append(f"| `{name}` | {family.title} | {kinds} | {family.tested} |")
    head = ["| family | models | `model_type` | tested on |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


REGISTRIES: dict[str, Callable[[], str]] = {
    "policies": policies,
    "benchmarks": benchmarks,
    "downloads": downloads.table,
    "families": families_of_models,
}
