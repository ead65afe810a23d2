"""Which linears of a model get an adapter: by name, by expression, or all of the language model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest

ALL_LINEAR = "all-linear"

#: A linear under a module whose name holds one of these is not of the language model.
_OTHER_THAN_LANGUAGE = ("vision", "visual", "image", "audio", "projector", "connector", "resampler")


def target_names(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Return the full names of the linears to adapt, in the model's order.

    "all-linear" takes every linear but the output embeddings and those under a module whose name
    holds vision, visual, image, audio, projector, connector or resampler: where a model has a
    tower and a projector, only its language model is adapted.

    Args:
        model: the model.
        targets: full names, a regular expression for full names, or "all-linear".

    Raises:
        ConfigError: a name is not a linear, the expression is none, or nothing matches.
    """
    linears = adapted_linears(model)
    if not isinstance(targets, str):
        for name in targets:
            if name not in linears:
                raise ConfigError(
                    f"`{name}` is not a linear module of the model.", nearest(name, linears)
                )
        chosen = set(targets)
        return [name for name in linears if name in chosen]
    if targets == ALL_LINEAR:
        found = [n for n in linears if not _is_head(model, n) and _is_language(n)]
    else:
        try:
            pattern = re.compile(targets)
        except re.error as error:
            raise ConfigError(
                f"targets={targets!r} is not a regular expression: {error}."
            ) from None
        found = [name for name in linears if pattern.fullmatch(name)]
    if not found:
        raise ConfigError(
            f"targets={targets!r} matches none of the model's {len(linears)} linears.",
            f"It must match a whole name; some are: {', '.join(sorted(linears)[:4])}.",
        )
    return found


def _is_head(model: nn.Module, name: str) -> bool:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head is not None and model.get_submodule(name) is head


def _is_language(name: str) -> bool:
    return not any(word in name.lower() for word in _OTHER_THAN_LANGUAGE)
