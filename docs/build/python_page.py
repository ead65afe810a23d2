"""Fills docs/python.md with the signatures and summaries of the public Python API.

    python -m docs.build.python_page

The reference stands between `<!-- reference -->` and `<!-- /reference -->`.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import hydra_mobile

PAGE = Path(__file__).parents[1] / "python.md"
_PART = re.compile(r"(<!-- reference -->\n).*?(<!-- /reference -->)", re.DOTALL)


def reference() -> str:
    """Return the reference: functions with their signatures, then classes with their members."""
    names = [name for name in hydra_mobile.__all__ if not name.startswith("_")]
    found = {name: getattr(hydra_mobile, name) for name in names}
    functions = [_function(name, f) for name, f in found.items() if inspect.isfunction(f)]
    classes = [_class(name, c) for name, c in found.items() if inspect.isclass(c)]
    return "\n".join(["### Functions", "", *functions, "### Classes", "", *classes])


def filled(text: str) -> str:
    """Return a page with the reference of this version in its place."""
    return _PART.sub(lambda match: match[1] + "\n" + reference() + match[2], text)


def _function(name: str, function: Any) -> str:
    lines = [f"def {name}("]
    starred = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines.append("    *,")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        shown = f"{stars.get(parameter.kind, '')}{parameter.name}: {parameter.annotation}"
        if parameter.default is not parameter.empty:
            shown += f" = {_default(parameter.default)}"
        lines.append(f"    {shown},")
    lines.append(f") -> {inspect.signature(function).return_annotation}")
    code = "\n".join(lines)
    return f"#### `{name}`\n\n{_summary(function)}\n\n```python\n{code}\n```\n"


def _default(value: Any) -> str:
    shown = getattr(value, "__name__", None) or repr(value)
    # An object without a text of its own is shown by its class.
    return f"{type(value).__name__}()" if shown.startswith("<") else shown


def _class(name: str, found: Any) -> str:
    members = [
        f"- `{member}{'()' if inspect.isroutine(value) else ''}`: {_summary(value)}"
        for member, value in inspect.getmembers(found)
        if not member.startswith("_") and _written_here(value) and inspect.getdoc(value)
    ]
    body = "\n".join(members) + "\n\n" if members else ""
    return f"#### `{name}`\n\n{_summary(found)}\n\n{body}".rstrip("\n") + "\n"


def _written_here(member: Any) -> bool:
    function = member.fget if isinstance(member, property) else member
    function = inspect.unwrap(getattr(function, "__func__", function))
    return str(getattr(function, "__module__", "")).startswith(("hydra_mobile", "hydra_export"))


def _summary(found: Any) -> str:
    return " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
