"""Packages import only floors below their own, and no two files import each other."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (  # from the ground up
    {"core"},
    {"configs"},
    {"adapters", "examples", "models", "reporting"},
    {"bundle", "config", "data"},
    {"benchmarks", "devices", "training"},
    {"estimation", "runtimes"},
    {"evaluation", "hydra_export", "parity", "plugins"},
    {"measurement"},
    {"api"},
    {"cli"},
)
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
#: The Python API and the entry point are above all floors.
ABOVE = {"hydra_mobile/__init__.py", "hydra_mobile/__main__.py"}


def module_of(file: Path) -> str:
    parts = list(file.with_suffix("").parts)
    parts = parts[1:] if parts[0] == "export" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(file): file
    for source in ("hydra_mobile", "export/hydra_export")
    for file in (path.relative_to(ROOT) for path in sorted((ROOT / source).rglob("*.py")))
}


def package_of(name: str) -> str:
    first, _, rest = name.partition(".")
    return first if first == "hydra_export" else rest.partition(".")[0]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return our modules that one imports, at the top of the file and inside functions."""
    tree = ast.parse((ROOT / FILES[module]).read_text("utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{FILES[module]}: a relative import hides its package"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        while name and name not in FILES:
            name = name.rpartition(".")[0]
        found |= {name} - {"", module}
    return frozenset(found)


@pytest.mark.parametrize("module", [m for m, f in FILES.items() if f.as_posix() not in ABOVE])
def test_imports_only_floors_below(module: str) -> None:
    own = package_of(module)
    # The command line calls the Python API, which is the package itself.
    allowed = {"hydra_mobile"} if own == "cli" else set()
    wrong = [
        name
        for name in imports_of(module) - allowed
        if (package := package_of(name)) != own and FLOOR.get(package, len(FLOORS)) >= FLOOR[own]
    ]
    assert not wrong, f"{FILES[module]} imports {wrong}, which is not on a floor below `{own}`"


#: What commands may import beside `core`, `config`, `configs` and their own package: the Python
#: API, and the lists of names that help and refusals show before anything heavy is loaded.
FOR_COMMANDS = {
    *("hydra_mobile", "hydra_mobile.benchmarks", "hydra_mobile.devices"),
    *("hydra_mobile.benchmarks.own.names", "hydra_mobile.benchmarks.score_names"),
    *("hydra_mobile.models.registry", "hydra_export.targets", "hydra_mobile.bundle.presets"),
}
#: Files that show a result on the terminal also know the result's own parts.
FOR_TABLES = {"reporting", "bundle", "estimation"}


@pytest.mark.parametrize("module", [m for m in FILES if package_of(m) == "cli"])
def test_a_command_calls_the_python_api(module: str) -> None:
    known = {"api", "cli", "config", "configs", "core"}
    if module.endswith(("_tables", "_view")):
        known |= FOR_TABLES
    wrong = [m for m in imports_of(module) - FOR_COMMANDS if package_of(m) not in known]
    assert not wrong, f"{FILES[module]} imports {wrong}: call the Python API in its place"


def test_no_two_files_import_each_other() -> None:
    """Tarjan's strongly connected components over the files; each must be one file."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports_of(module)):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                circles.append(sorted(stack[at:]))
            del stack[at:]

    for module in FILES:
        if module not in index:
            visit(module)
    assert not circles
