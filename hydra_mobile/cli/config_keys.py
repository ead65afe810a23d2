"""The keys of a training configuration with their defaults and meanings, read from config.py."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hydra_mobile import config
from hydra_mobile.cli.ui.faults import some
from hydra_mobile.config import TrainConfig
from hydra_mobile.core.errors import ConfigError


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: with its section, for example "stage2.steps".
        default: its value when nobody sets it.
        kind: for example "int" or "refuse, truncate, drop".
        meaning: what it does.
    """

    name: str
    default: Any
    kind: str
    meaning: str


@cache
def keys() -> tuple[Key, ...]:
    """Return all keys in the order of the file."""
    return tuple(_keys(TrainConfig, TrainConfig(), ""))


def _keys(kind: type[Any], default: Any, prefix: str) -> list[Key]:
    hints, meanings = get_type_hints(kind), _meanings(kind)
    made: list[Key] = []
    for each in dataclasses.fields(kind):
        value = getattr(default, each.name)
        if dataclasses.is_dataclass(value):
            made += _keys(type(value), value, f"{prefix}{each.name}.")
        else:
            words = meanings.get(each.name, "")
            made.append(Key(prefix + each.name, value, _kind(hints[each.name]), words))
    return made


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(str(each) or '""' for each in get_args(hint))
    return getattr(hint, "__name__", str(hint))


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Return the text below each field of a dataclass."""
    module = inspect.getmodule(kind) or config
    tree = ast.parse(inspect.getsource(module))
    body = next(
        n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__
    )
    found = {}
    for field, text in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def settings_of(source: str, overrides: Sequence[str]) -> TrainConfig:
    """Return the configuration of --config and KEY=VALUE.

    Raises:
        ConfigError: a key or a value is wrong; where it is a key of the command line, the message
            names the nearest, or the sections that have one of that name.
    """
    try:
        return config.load_config(source or None, overrides)
    except ConfigError:
        _require_known(overrides)
        raise


def _require_known(overrides: Sequence[str]) -> None:
    """Raise for a KEY=VALUE whose key there is not.

    Raises:
        ConfigError: names the nearest key, or the sections that have a key of that name.
    """
    names = [key.name for key in keys()]
    sections = {name.rpartition(".")[0] for name in names}
    for override in overrides:
        key = override.partition("=")[0]
        value = override[len(key) :]
        if key in names or key in sections - {""}:
            continue
        inside = [name for name in names if name.rpartition(".")[2] == key]
        section = key.rpartition(".")[0]
        valid = [n for n in names if n.rpartition(".")[0] == section] if section in sections else []
        close = difflib.get_close_matches(key, valid or names, n=1, cutoff=0.5)
        if inside:
            fixes = ["  or  ".join(f"{name}{value}" for name in inside)]
            expected = "section.key=value"
        else:
            fixes = [f"did you mean `{each}{value}`?" for each in close]
            fixes.append(f"hydra-mobile config explain {section if valid else ''}".rstrip())
            inside_section = some([n.rpartition(".")[2] for n in valid])
            expected = f"a key of {section}: {inside_section}" if section and valid else "a key"
        raise ConfigError(
            f"unknown key `{key}`", fixes, where="command line", found=override, expected=expected
        )
