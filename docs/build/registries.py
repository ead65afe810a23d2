"""Tables of what the registries hold, for pages: a new entry is on the page by being registered."""

from __future__ import annotations

from collections.abc import Callable

from hydra_mobile.adapters.policies import POLICIES, policy_named


def policies() -> str:
    """Return the table of rank policies (Markdown)."""
    rows = [f"| `{name}` | {policy_named(name).title} |" for name in POLICIES]
    return "\n".join(["| policy | ranks |", "|---|---|", *rows, ""])


REGISTRIES: dict[str, Callable[[], str]] = {"policies": policies}
