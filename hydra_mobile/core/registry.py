"""Names to objects: every plug point is a mapping of `name -> "module:Object"`, imported on use.

A wrong name lists the valid ones and the nearest; a missing optional package names the extra that
brings it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra_mobile.core.errors import HydraError, MissingPackageError

#: The distribution whose metadata names the extras.
_DISTRIBUTION = "hydra-mobile"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that lists `valid` and points at the name closest to `name`."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"{hint}Valid: {', '.join(names)}."


def require_packages(packages: Iterable[str], extra: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        packages: names as they are imported.
        extra: which of our extras brings them.

    Raises:
        HydraError: one is missing; the message has the line that installs it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise _not_installed(package, extra)


def missing_extra(error: ModuleNotFoundError) -> HydraError:
    """Turn a failed import of an optional package into advice on what to install."""
    package = (error.name or "").split(".")[0]
    extra = _extra_with(package)
    if extra is None:
        raise error
    return _not_installed(package, extra)


def _not_installed(package: str, extra: str) -> HydraError:
    return MissingPackageError(
        f"The package `{package}` is not installed.",
        f'Install it with: pip install "{_DISTRIBUTION}[{extra}]"',
    )


def _extra_with(package: str) -> str | None:
    """Return our smallest extra that brings a package; None: none does."""
    found = {e: names for e, names in extras().items() if _plain(package) in map(_plain, names)}
    return min(found, key=lambda extra: len(found[extra]), default=None)


def extras() -> dict[str, list[str]]:
    """Return the packages that each of our extras brings, as our own metadata have it."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # the sources alone, not installed
        return {}
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        if name and extra and name[0] != _DISTRIBUTION:
            found.setdefault(extra[1], []).append(name[0])
    return found


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def resolve(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Import and return the object registered under `name`.

    Args:
        kind: what the table holds, for messages, for example "projector".
        name: the name the user gave.
        table: `name -> "module:Object"`.

    Raises:
        HydraError: unknown name, or an optional package is missing.
    """
    if name not in table:
        raise HydraError(f"Unknown {kind} `{name}`.", nearest(name, table))
    module_name, _, attribute = table[name].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    return getattr(module, attribute)
