"""Names to objects: every plug point is a mapping of `name -> "module:Object"`, imported on use.

A wrong name lists the valid ones and the nearest; a missing optional package names the extra that
brings it.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from hydra_mobile.core.errors import HydraError, MissingPackageError

# Which of our extras brings a package that a plug-in may fail to import.
_EXTRA_OF_PACKAGE = {
    "executorch": "executorch",
    "torchao": "executorch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "coremltools": "coreml",
    "matplotlib": "report",
    "bitsandbytes": "bitsandbytes",
}


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that lists `valid` and points at the name closest to `name`."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"{hint}Valid: {', '.join(names)}."


def missing_extra(error: ModuleNotFoundError) -> HydraError:
    """Turn a failed import of an optional package into advice on what to install."""
    package = (error.name or "").split(".")[0]
    extra = _EXTRA_OF_PACKAGE.get(package)
    if extra is None:
        raise error
    return MissingPackageError(
        f"The package `{package}` is not installed.",
        f'Install it with: pip install "hydra-mobile[{extra}]"',
    )


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
