"""Frozen dataclasses to JSON values and back, checked field by field.

`decode` follows the type hints of a dataclass and names the place of the first wrong value
("systems[2].timings.encode.n"), so that a report written by another version, or by a phone, is
refused with a reason. Numbers that JSON does not know (not-a-number, infinity) travel as strings: a
broken export must not look like one that was never measured.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hydra_mobile.core.errors import ArtifactError

T = TypeVar("T")

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(value: Any) -> Any:
    """Return `value` (dataclass, named tuple, mapping, sequence, scalar) as a JSON value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return float(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, Sequence):
        return [encode(item) for item in value]
    raise TypeError(f"a report cannot hold a {type(value).__name__}: {value!r}")


def decode(cls: type[T], value: Any, where: str = "") -> T:
    """Build `cls` from a JSON value.

    Args:
        cls: the dataclass to build. A field without a default must be present.
        value: what JSON gave.
        where: the path of `value` inside the report, for the message.

    Raises:
        ArtifactError: a field is missing, unknown, of the wrong type or out of its range.
    """
    return typing.cast(T, _decode(cls, value, where))


def _refuse(where: str, what: str, mend: str = "") -> ArtifactError:
    return ArtifactError(
        f"The report is not usable: {where or 'the file'} {what}.",
        mend or "The report was altered, or written by another version; make it again.",
    )


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _decode(inner, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise _refuse(where, f"is {value!r}: expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _refuse(where, f"is {_found(value)}: expected an object")
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        inner = tuple(hints[name] for name in hint._fields)
        return hint(*_decode_tuple(inner, value, where))
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, value, where)
    return _decode_scalar(hint, value, where)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _refuse(where, f"is {_found(value)}: expected a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise _refuse(where, f"has {len(value)} items: expected {len(arguments)}")
    pairs = zip(arguments, value, strict=True)
    return tuple(_decode(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(pairs))


def _decode_dataclass(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _refuse(where, f"is {_found(value)}: expected an object")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f" (nearest: '{near[0]}')" if near else ""
            raise _refuse(where, f"has an unknown field '{name}'{hint}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            raise _refuse(where, f"lacks the field '{name}'")
    decoded = {
        name: _decode(hints[name], item, f"{where}.{name}" if where else name)
        for name, item in value.items()
    }
    try:
        return cls(**decoded)
    except ValueError as error:
        raise _refuse(where, f"is out of range: {error}") from error


def _decode_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise _refuse(where, f"is {_found(value)}: expected a number")
    if hint is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise _refuse(where, f"is {_found(value)}: expected a whole number")
    if not isinstance(value, hint):
        kind = {"str": "text", "bool": "true or false"}.get(hint.__name__, hint.__name__)
        raise _refuse(where, f"is {_found(value)}: expected {kind}")
    return value


def _found(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)
