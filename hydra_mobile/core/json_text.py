"""The one writer of JSON: as the standard library's, but numbers that are not finite are refused.

`NaN` and `Infinity` are no JSON: other readers stop at them, and a measurement that became one is a
fault to be told, not a value to be kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra_mobile.core.errors import HydraError


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
