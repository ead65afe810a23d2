"""Finds a benchmark that is not one of ours: a file, a class, or one that a package registers."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.own.file import benchmark_of
from hydra_mobile.benchmarks.own.names import ClassName, FileName, own_name, registered
from hydra_mobile.core.boundaries import reason_of
from hydra_mobile.core.errors import HydraError

_PAGE = "docs/own_benchmark.md shows one."


def found(name: str) -> type[Benchmark] | None:
    """Return the benchmark of a name that is not ours; None where nothing has it.

    Raises:
        HydraError: the file or module cannot be read, or its object is no benchmark.
    """
    own = own_name(name)
    if own is None:
        value = registered().get(name)
        own = own_name(value) if value is not None else None
    if isinstance(own, FileName):
        return benchmark_of(own)
    return _class(own) if own is not None else None


def _class(name: ClassName) -> type[Benchmark]:
    module = _module(name.place)
    kind = getattr(module, name.name, None)
    if not (isinstance(kind, type) and issubclass(kind, Benchmark)):
        classes = [
            each
            for each, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise HydraError(
            f"{name.place} has no benchmark `{name.name}`",
            f"Name a class that extends ItemBenchmark. {_PAGE}",
            where=name.place,
            found=f"the classes {', '.join(classes)}" if classes else "no class",
            expected=f"a class {name.name}",
        )
    return kind


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py":
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise HydraError(
                f"there is no module {error.name}",
                f"Give its file, FILE.py:CLASS. {_PAGE}",
                where=place,
            ) from error
    # One module for a file, so that its class stays the same.
    name = f"hydra_mobile_own_{path.absolute().as_posix()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise HydraError(f"there is no file {path}", _PAGE, where=place, found="no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, HydraError) or not isinstance(error, Exception):
            raise
        raise HydraError(
            f"{path} cannot be run: {type(error).__name__}: {reason_of(error)}",
            f"Try it alone: python {path}",
            where=f"{path}, line {_line(error, path)}",
            found=type(error).__name__,
        ) from error
    return module


def _line(error: Exception, path: Path) -> int:
    """Return the last line of a file that an error came from; 0 where none is known."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (frames[-1].lineno or 0) if frames else 0
