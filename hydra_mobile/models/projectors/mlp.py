"""LLaVA's projectors: `linear` (depth 1), `mlp2x_gelu` (depth 2), and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.base import Projector

_DEPTH = 2


class MLP(Projector):
    """Linear, then GELU and Linear `depth - 1` times; one embedding for each patch."""

    published_names = ("linear", "mlp2x_gelu (any number for 2)")

    def __init__(
        self, num_patches: int, feature_size: int, hidden_size: int, depth: int = _DEPTH
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(
                f"projector `mlp`: depth is {depth}, expected at least 1.",
                "1 is LLaVA's `linear`, 2 its `mlp2x_gelu`.",
            )
        self.num_tokens = num_patches
        layers: list[nn.Module] = [nn.Linear(feature_size, hidden_size)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(hidden_size, hidden_size)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [B, P, C] to embeddings [B, P, hidden]."""
        embeddings: Tensor = self.layers(features)
        return embeddings

    @classmethod
    def from_published(cls, name: str) -> dict[str, Any] | None:
        """Return the depth of `linear`, `mlp2x_gelu` and so on."""
        if name == "linear":
            return {"depth": 1}
        match = re.fullmatch(r"mlp([1-9]\d*)x_gelu", name)
        return {"depth": int(match[1])} if match else None

    @classmethod
    def published_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `linear`, `mlp2x_gelu` and so on."""
        depth = _depth(arguments)
        return "linear" if depth == 1 else f"mlp{depth}x_gelu"

    @classmethod
    def published_prefix(cls, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """Return the prefixes; one layer alone has no number in its keys."""
        ours = "projector.layers.0." if _depth(arguments) == 1 else "projector.layers."
        return "model.mm_projector.", ours

    @classmethod
    def llama_cpp_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `mlp` for depth 2, the only one there."""
        return "mlp" if _depth(arguments) == 2 else None

    @classmethod
    def transformers_prefixes(
        cls, arguments: Mapping[str, Any]
    ) -> tuple[tuple[str, str], ...] | None:
        """Return the two linear layers of transformers' LLaVA, for depth 2."""
        if _depth(arguments) != 2:
            return None
        return (
            ("multi_modal_projector.linear_1.", "projector.layers.0."),
            ("multi_modal_projector.linear_2.", "projector.layers.2."),
        )


def _depth(arguments: Mapping[str, Any]) -> int:
    return int(arguments.get("depth", _DEPTH))
