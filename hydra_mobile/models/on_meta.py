"""Models without memory behind their weights, made in bounded time.

Weights on the meta device cost nothing, whatever their shapes; the modules that hold them are
Python objects. A config.json may ask for millions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from hydra_mobile.core.errors import ArtifactError

T = TypeVar("T")

# A model of 70 billion parameters has some 1,500. So many take about four seconds.
_MOST_MODULES = 20_000


def on_meta(make: Callable[[], T], where: str = "a configuration") -> T:
    """Return what `make` builds, on the meta device; `where` it is described, for the message.

    Raises:
        ArtifactError: it has more modules than any model.
    """
    modules = 0

    def count(module: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal modules
        modules += 1
        if modules > _MOST_MODULES:
            raise ArtifactError(
                f"{where} describes a model of more than {_MOST_MODULES:,} modules.",
                "The file was altered: take it again from where the folder came from.",
                where=where,
                found=f"more than {_MOST_MODULES:,} modules",
                expected="the layers of a vision-language model",
            )

    hook: Any = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"):
            return make()
    finally:
        hook.remove()
