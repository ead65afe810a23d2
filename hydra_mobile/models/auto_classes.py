"""Makes transformers' Auto classes know our models, without importing transformers for it.

transformers looks a model type up in tables of names and then imports `transformers.models.TYPE`.
Our names are put into the tables behind the import of the modules that hold them, and that module
is found here: it hands out our classes when they are asked for. So nobody pays for what they do not
use, and nothing of ours is imported in the middle of an import of theirs. Where transformers is
imported already, its tables have been copied: our modules then register themselves, as any
model's do.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_TYPE = "mobile_vlm"
_AUTO = "transformers.models.auto."
#: transformers' module -> its table, our class in it and the module of ours that has the class.
_TABLES = {
    f"{_AUTO}configuration_auto": (
        "CONFIG_MAPPING_NAMES",
        "MobileVLMConfig",
        "hydra_mobile.models.configuration",
    ),
    f"{_AUTO}modeling_auto": (
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
        "MobileVLMForConditionalGeneration",
        "hydra_mobile.models.modeling",
    ),
    f"{_AUTO}processing_auto": (
        "PROCESSOR_MAPPING_NAMES",
        "MobileVLMProcessor",
        "hydra_mobile.models.processing",
    ),
}
_MODULE = f"transformers.models.{_TYPE}"


class _Finder:
    """A finder of `sys.meta_path`: for the three modules with tables, and for our model type."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec whose loader does our part; None leaves all others to the next finder."""
        if name == _MODULE:
            from importlib.machinery import ModuleSpec

            return ModuleSpec(name, _ModelType())  # type: ignore[arg-type]
        if name not in _TABLES:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _WithOurName(spec.loader)  # type: ignore[assignment]
        return spec


class _WithOurName:
    """The usual loader of a module with a table, which then gets our name."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the usual loader."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module and add our name to its table."""
        self._loader.exec_module(module)
        table, name, _ = _TABLES[module.__name__]
        getattr(module, table)[_TYPE] = name

    def __getattr__(self, name: str) -> Any:
        # get_source, get_data and the like, for tracebacks and inspect.
        return getattr(self._loader, name)


class _ModelType:
    """Loads `transformers.models.mobile_vlm`: our classes, each imported when it is asked for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give the module a lookup of our classes."""
        homes = {name: home for _, name, home in _TABLES.values()}

        def of(name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(importlib.import_module(homes[name]), name)

        module.__getattr__ = of  # type: ignore[method-assign]


def register_when_imported() -> None:
    """Register our models with transformers, now or when it is imported; again costs nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for theirs, (_, _, ours) in _TABLES.items():
        if theirs in sys.modules:
            importlib.import_module(ours)
