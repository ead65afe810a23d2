"""HyDRA ranks for plain peft LoRA: who gets how much rank, at a fixed number of parameters.

An independent reconstruction from the method's abstract; see `policies/` for the
choices. Importing this package imports nothing heavy.

For everyone else's models: `Hydra` and, for the transformers `Trainer`, `HydraCallback`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_mobile.adapters.dynamic.settings import DynamicConfig
    from hydra_mobile.adapters.engine import Hydra
    from hydra_mobile.adapters.integrations.trainer_callback import HydraCallback

__all__ = ["DynamicConfig", "Hydra", "HydraCallback"]

_HOME = {
    "DynamicConfig": "hydra_mobile.adapters.dynamic.settings",
    "Hydra": "hydra_mobile.adapters.engine",
    "HydraCallback": "hydra_mobile.adapters.integrations.trainer_callback",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
