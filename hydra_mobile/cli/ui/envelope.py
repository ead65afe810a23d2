"""The one JSON document that every command prints with `--json`, whether it went well or not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hydra_mobile import __version__
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_text import dumps


def envelope(
    name: str,
    command: Sequence[str],
    code: int,
    result: Mapping[str, Any] | None,
    error: HydraError | None,
    warnings: Sequence[str],
    following: Sequence[str],
    log: Path | None,
    seconds: float,
) -> str:
    """Return the document, indented.

    Args:
        name: of the command, for example "data-check"; names the schema of `result`.
        command: the words, as typed.
        code: the exit code.
        result: what the command found or made; None where it ended before.
        error: what went wrong.
        warnings: what may spoil the result.
        following: commands that make sense next.
        log: where the log is.
        seconds: how long it took.
    """
    made = {
        "schema": f"hydra-mobile/{name}/1",
        "command": list(command),
        "ok": code == 0,
        "exit_code": code,
        "result": None if result is None else dict(result),
        "error": None if error is None else _error(error),
        "warnings": list(warnings),
        "next": list(following),
        "log": log,
        "seconds": round(seconds, 3),
        "version": __version__,
    }
    return dumps(as_json(made), indent=2, ensure_ascii=False)


def _error(error: HydraError) -> dict[str, Any]:
    kept = {"kept": error.kept} if error.kept else {}
    return {
        "kind": error.kind,
        "what": error.what,
        **error.fields(),
        "fix": list(error.fixes),
        **kept,
    }


def as_json(value: Any) -> Any:
    """Return `value` in JSON's own types: NaN is null, paths and enums are texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_json({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return as_json(value.value)
    if isinstance(value, str | int | bool) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return [as_json(each) for each in value]
    if hasattr(value, "item"):  # a number of numpy's
        return as_json(value.item())
    return str(value)
