"""Writes every key of a training configuration into docs/configuration.md.

python -m docs.build.config_page
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, get_type_hints

from hydra_mobile.config import TrainConfig
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.typed import expected

PAGE = Path(__file__).parents[1] / "configuration.md"

_MARK = "<!-- the keys, made by docs.build.config_page -->\n\n"


def page() -> str:
    """Return docs/configuration.md: its own words, and below the mark every section's keys."""
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(_MARK)
    return "\n".join([head + mark.rstrip("\n"), "", *_sections(TrainConfig, "")]).rstrip() + "\n"


def _sections(cls: type, prefix: str) -> list[str]:
    """Return a class's keys as a table, then those of the sections in it, `prefix` before each."""
    meanings, hints = _meanings(cls), get_type_hints(cls, include_extras=True)
    rows, below = [], []
    for field in dataclasses.fields(cls):
        key = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            below.append((hints[field.name], key + "."))
            continue
        value = f"{expected(hints[field.name])}".replace("|", "\\|")
        rows.append(f"| `{key}` | {value} | {_default(field)} | {meanings[field.name]} |")
    title = f"## `{prefix.rstrip('.')}`" if prefix else "## At the top"
    summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
    table = ["| key | value | default | meaning |", "|---|---|---|---|", *rows]
    lines = [title, "", summary, "", *table, ""]
    for section, deeper in below:
        lines += _sections(section, deeper)
    return lines


def _meanings(cls: type) -> dict[str, str]:
    """Return the text below each field of a class, in one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, text in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        words = text.value if isinstance(text, ast.Expr) else None
        meaning = words.value if isinstance(words, ast.Constant) else ""
        found[statement.target.id] = re.sub(r"\s+", " ", str(meaning)).replace("|", "\\|")
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    shown = dumps(value)
    return "empty" if shown in ('""', "[]", "{}") else f"`{shown}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
