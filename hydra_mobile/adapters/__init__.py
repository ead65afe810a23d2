"""HyDRA ranks for plain peft LoRA: who gets how much rank, at a fixed number of parameters.

An independent reconstruction from the method's abstract; see `coarse.py` and `fine.py` for the
choices. Importing this package imports nothing heavy.

For everyone else's models: `Hydra` and, for the transformers `Trainer`, `HydraCallback`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_mobile.adapters.hydra import Dynamic, Hydra
    from hydra_mobile.adapters.trainer_callback import HydraCallback

__all__ = ["Dynamic", "Hydra", "HydraCallback"]

_HOME = {
    "Dynamic": "hydra_mobile.adapters.hydra",
    "Hydra": "hydra_mobile.adapters.hydra",
    "HydraCallback": "hydra_mobile.adapters.trainer_callback",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
