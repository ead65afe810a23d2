"""JSON and YAML values to dataclasses and back, checked field by field.

`decode` follows the type hints of a dataclass. It reports every fault of a value in one error: each
with its key ("systems[2].timings.encode.n"), what was found and what was expected. A field says
more about itself in `Annotated` metadata: its `Range`, or its `FormerNames` in older files.

Written by hand although cattrs and pydantic exist: neither reports a fault by the key's full path
together with the nearest valid name, and both would be the only use of such a dependency.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.registry import nearest

T = TypeVar("T")

# JSON has no literal for these. A measurement that failed must not look like one never made.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LONGEST_SHOWN = 60
_BAD: Any = object()
"""In place of a value that could not be decoded; its fault is already recorded."""


@dataclass(frozen=True)
class Range:
    """The finite numbers that a field accepts. A bound of None does not apply."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """Exclusive lower bound."""
    below: float | None = None
    """Exclusive upper bound."""

    def __contains__(self, value: float) -> bool:
        # Not `math.isfinite`: it overflows on an integer that no float can hold.
        if value != value or value in (math.inf, -math.inf):
            return False
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = {
            "at least": self.minimum,
            "above": self.above,
            "at most": self.maximum,
            "below": self.below,
        }
        said = [f"{words} {bound:,}" for words, bound in bounds.items() if bound is not None]
        return " and ".join(said) or "finite"


# Upper bounds are far above any use and below what overflows: they catch a slip of the keyboard.
Count = Annotated[int, Range(minimum=0, maximum=10**9)]
"""A number of things where 0 has a meaning of its own, which the field's text says."""
Positive = Annotated[int, Range(minimum=1, maximum=10**9)]
Share = Annotated[float, Range(minimum=0, maximum=1)]
ShareBelowOne = Annotated[float, Range(minimum=0, below=1)]


@dataclass(frozen=True, init=False)
class FormerNames:
    """Keys under which older files hold a field."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def encode(value: Any) -> Any:
    """Return `value` (dataclass, named tuple, mapping, sequence, enum, scalar) as a JSON value.

    Numbers that JSON does not have (not-a-number, infinity) become strings; `decode` reads them.

    Raises:
        TypeError: `value` holds an object of another kind.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if isinstance(value, Path):
        return str(value)
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
    raise TypeError(f"JSON cannot hold a {type(value).__name__}: {value!r}")


def decode(
    cls: type[T],
    value: Any,
    source: str,
    *,
    error: type[HydraError] = ArtifactError,
    fix: str = "",
    yaml: bool = False,
    complete: bool = False,
) -> T:
    """Build a dataclass from a JSON or YAML value.

    A field without a default must be present. Where a section is given in part, its other fields
    keep the values of the section's default.

    Args:
        cls: the dataclass.
        value: the parsed value, a mapping of keys to values.
        source: names the value in the error, usually a file.
        error: the class to raise.
        fix: how to repair the value, where a fault does not say it itself.
        yaml: the value was written by a person in YAML: `1e-4`, which YAML reads as text, is a
            number, and an empty value is an empty text.
        complete: fields with a default must be present as well.

    Raises:
        HydraError: of class `error`; keys are missing or unknown, or values have the wrong type or
            are out of range. All faults of the value are in its text.
    """
    reader = _Reader(yaml, complete)
    made = reader.read(cls, value, "")
    if reader.faults:
        raise error(
            "\n".join(fault.sentence(source) for fault in reader.faults),
            " ".join(dict.fromkeys(f.fix for f in reader.faults if f.fix)) or fix,
        )
    return typing.cast(T, made)


def current_names(cls: Any, value: Any) -> Any:
    """Return a copy of `value` in which former keys of `cls` and its sections are the current ones.

    A key that is given by both names is left alone: `decode` refuses it.
    """
    if not isinstance(value, Mapping):
        return value
    renamed: dict[Any, Any] = {}
    hints, former = _hints(cls), _former_names(cls)
    for key, item in value.items():
        name: Any = former.get(key, key)
        if name != key and name in value:
            name = key
        section = _section(hints.get(name))
        renamed[name] = current_names(section, item) if section else item
    return renamed


def expected(hint: Any) -> str:
    """Return the values that a type hint accepts, in words: "an integer at least 1"."""
    if get_origin(hint) is Annotated:
        kind, *metadata = get_args(hint)
        ranges = [str(item) for item in metadata if isinstance(item, Range)]
        return " ".join([expected(kind), *ranges])
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if arm is type(None) else expected(arm) for arm in get_args(hint))
    kind = get_origin(hint) or hint
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _one_of([member.value for member in kind])
    if dataclasses.is_dataclass(kind) or kind in (dict, collections.abc.Mapping):
        return "keys and values"
    if isinstance(kind, type) and issubclass(kind, tuple | list | set | frozenset | Sequence):
        return "a string" if kind is str else "a list"
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    return names.get(kind, "a path" if kind is Path else str(kind))


@dataclass(frozen=True)
class _Fault:
    key: str
    what: str
    fix: str = ""

    def sentence(self, source: str) -> str:
        return f"{source}: `{self.key}` {self.what}." if self.key else f"{source} {self.what}."


class _Reader:
    """Reads values by their hints and collects what is wrong with them."""

    def __init__(self, yaml: bool, complete: bool) -> None:
        self.faults: list[_Fault] = []
        self._yaml = yaml
        self._complete = complete

    def read(self, hint: Any, value: Any, key: str, default: Any = None) -> Any:
        """Return `value` as `hint` asks, or `_BAD` after recording why not."""
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is Any:
            return value
        if origin is Annotated:
            return self._within(hint, self.read(arguments[0], value, key, default), value, key)
        if origin in (Union, types.UnionType):
            return self._union(hint, value, key, default)
        if origin is Literal:
            # By type as well: True equals 1.
            if any(value == item and type(value) is type(item) for item in arguments):
                return value
            return self._wrong(hint, value, key, nearest(str(value), map(str, arguments)))
        kind = origin or hint
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value, key, default)
        if kind in (dict, collections.abc.Mapping):
            return self._mapping(hint, arguments, value, key)
        if kind is not str and isinstance(kind, type) and issubclass(kind, Sequence | set):
            return self._sequence(hint, kind, arguments, value, key)
        return self._scalar(hint, value, key)

    def _fault(self, key: str, what: str, fix: str = "") -> Any:
        self.faults.append(_Fault(key, what, fix))
        return _BAD

    def _wrong(self, hint: Any, value: Any, key: str, fix: str = "") -> Any:
        return self._fault(key, f"is {_found(value)}, expected {expected(hint)}", fix)

    def _within(self, hint: Any, made: Any, value: Any, key: str) -> Any:
        ranges = [item for item in get_args(hint)[1:] if isinstance(item, Range)]
        if made is _BAD or made is None or all(made in item for item in ranges):
            return made
        return self._wrong(hint, value, key)

    def _union(self, hint: Any, value: Any, key: str, default: Any) -> Any:
        arms = [arm for arm in get_args(hint) if arm is not type(None)]
        if value is None and len(arms) < len(get_args(hint)):
            return None
        if len(arms) == 1:
            return self.read(arms[0], value, key, default)
        for arm in arms:
            attempt = _Reader(self._yaml, self._complete)
            made = attempt.read(arm, value, key, default)
            if not attempt.faults:
                return made
        return self._wrong(hint, value, key)

    def _dataclass(self, cls: Any, value: Any, key: str, default: Any) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(cls, value, key)
        hints, before = _hints(cls), len(self.faults)
        base = default if isinstance(default, cls) else None
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        given: dict[str, Any] = {}
        for name, item in current_names(cls, value).items():
            path = f"{key}.{name}" if key else str(name)
            if name not in fields:
                current = _former_names(cls).get(name)
                if current:
                    self._fault(path, f"is the former name of `{current}`, which is given as well")
                else:
                    self._fault(path, "is an unknown key", nearest(str(name), fields))
                continue
            given[name] = self.read(hints[name], item, path, _default(fields[name]))
        for name, field in fields.items():
            required = self._complete or (base is None and _default(field) is _BAD)
            if required and name not in given:
                path = f"{key}.{name}" if key else name
                self._fault(path, f"is missing, expected {expected(hints[name])}")
        if len(self.faults) > before:
            return _BAD
        try:
            return cls(**given) if base is None else dataclasses.replace(base, **given)
        except ValueError as error:
            return self._fault(key, f"is out of range: {error}")

    def _mapping(self, hint: Any, arguments: tuple[Any, ...], value: Any, key: str) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(hint, value, key)
        of_keys, of_values = arguments or (Any, Any)
        made = {}
        for name, item in value.items():
            path = f"{key}.{name}" if key else str(name)
            # JSON has no keys but strings.
            written = int(name) if of_keys is int and _is_integer(name) else name
            made[self.read(of_keys, written, path)] = self.read(of_values, item, path)
        return made

    def _sequence(
        self, hint: Any, kind: type, arguments: tuple[Any, ...], value: Any, key: str
    ) -> Any:
        if not isinstance(value, list | tuple):
            return self._wrong(hint, value, key)
        if hasattr(kind, "_fields"):
            named = typing.get_type_hints(kind, include_extras=True)
            arguments = tuple(named[name] for name in kind._fields)
        elif kind is not tuple or arguments[1:] == (...,):
            arguments = (arguments[0] if arguments else Any,) * len(value)
        if len(value) != len(arguments):
            return self._fault(
                key, f"has {len(value)} items, expected {len(arguments)}: {_found(value)}"
            )
        items = [
            self.read(inner, item, f"{key}[{index}]")
            for index, (inner, item) in enumerate(zip(arguments, value, strict=True))
        ]
        if any(item is _BAD for item in items):
            return _BAD
        if hasattr(kind, "_fields"):
            return kind(*items)
        return tuple(items) if kind in (tuple, collections.abc.Sequence) else kind(items)

    def _scalar(self, hint: Any, value: Any, key: str) -> Any:
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            members = {member.value: member for member in hint}
            if isinstance(value, str | int) and value in members:
                return members[value]
            return self._wrong(hint, value, key, nearest(str(value), map(str, members)))
        if hint is Path and isinstance(value, str):
            return Path(value)
        if hint is str and value is None and self._yaml:
            return ""
        if hint is float:
            return self._number(value, key)
        if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
            return value
        return self._wrong(hint, value, key)

    def _number(self, value: Any, key: str) -> Any:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if isinstance(value, int | float) or (self._yaml and isinstance(value, str)):
            try:
                if not isinstance(value, bool):
                    return float(value)
            except (ValueError, OverflowError):
                pass
        return self._wrong(float, value, key)


def _default(field: dataclasses.Field[Any]) -> Any:
    """Return a field's default, or `_BAD` if it has none."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _BAD


def _section(hint: Any) -> Any:
    """Return the dataclass that a field holds, or None."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint if dataclasses.is_dataclass(hint) else None


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def _former_names(cls: Any) -> dict[str, str]:
    """Return `{former name: current name}` of a dataclass's fields."""
    return {
        former: name
        for name, hint in _hints(cls).items()
        if get_origin(hint) is Annotated
        for item in get_args(hint)[1:]
        if isinstance(item, FormerNames)
        for former in item.names
    }


def _one_of(values: Sequence[Any]) -> str:
    return "one of " + ", ".join(repr(value) for value in values)


def _is_integer(text: Any) -> bool:
    return isinstance(text, str) and text.removeprefix("-").isascii() and text.lstrip("-").isdigit()


def _found(value: Any) -> str:
    if isinstance(value, Mapping):
        return "keys and values"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 3]}..."
