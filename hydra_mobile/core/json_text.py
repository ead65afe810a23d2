"""The one writer and reader of JSON: the standard library's, without what readers disagree on.

The C++ runner (`native/src/json_text.h`) and the app (`Json.kt`) accept and refuse the same texts.
`NaN` and `Infinity` are no JSON: other readers stop at them, and a measurement that became one is a
fault to be told, not a value to be kept.

A key that an object has twice is refused in files of ours and in data: RFC 8259 leaves open which
one counts, the phone's reader refuses it, and whoever edited the file meant one of the two. Files
of other projects that their own programs read beside us (a config.json of transformers, annotations
of a benchmark) are read as these programs read them: the last one counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_guard import DEEPEST, JsonGuard

_LONGEST = 60


class DuplicateKey(ValueError):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        named = key if len(key) <= _LONGEST else f"{key[: _LONGEST - 3]}..."
        super().__init__(f"the key {named!a} is there twice in one object")


def loads(text: str | bytes, **options: Any) -> Any:
    """Return what a JSON text says.

    Args:
        text: in UTF-8 where it is bytes.
        options: of `json.loads`.

    Raises:
        ValueError: it is no JSON; an object in it has a key twice; a number is NaN or infinite, by
            its name or because it is too large; or values are nested deeper than `DEEPEST`.
    """
    if _may_be_deep(text):
        JsonGuard().feed(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    numbers = {"parse_constant": _no_number, "parse_float": _finite}
    return json.loads(text, object_pairs_hook=unique_object, **{**numbers, **options})


def _may_be_deep(text: str | bytes) -> bool:
    opened = (
        text.count(b"[") + text.count(b"{")
        if isinstance(text, bytes)
        else text.count("[") + text.count("{")
    )
    return opened > DEEPEST


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:_LONGEST]} is too large")
    return value


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON.

    Raises:
        DuplicateKey: a key is there twice.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return value


def dumps(value: Any, **options: Any) -> str:
    """Return `value` as JSON text.

    Args:
        value: of JSON's own types.
        options: of `json.dumps`: `indent`, `ensure_ascii`, `sort_keys`, `separators`, `default`.

    Raises:
        HydraError: a number is NaN or infinite; names the keys that lead to it.
    """
    try:
        return json.dumps(value, **options, allow_nan=False)
    except ValueError as error:
        for path, number in _not_finite(value):
            raise HydraError(
                f"{path or 'The value'} is {number}: it cannot be written as JSON.",
                "What computed it went wrong: look at the values that it came from.",
                where=path,
                found=str(number),
                expected="a finite number",
            ) from error
        raise


def _not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, value
