"""What every projector is, and how one says what it is called in other projects' checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn


class Projector(nn.Module):
    """Maps features [B, P, C] to image embeddings [B, N, hidden].

    Built from `(num_patches, feature_size, hidden_size)` and its configuration's arguments. The
    class methods take those arguments; their defaults are those of a projector that exists nowhere
    else.
    """

    #: Embeddings of a picture (N).
    num_tokens: int
    #: What users may type for `mm_projector_type`, for messages.
    published_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_published(cls, name: str) -> dict[str, Any] | None:
        """Return the arguments for MobileVLM's and LLaVA's `mm_projector_type`; None: not ours."""
        return None

    @classmethod
    def published_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return `mm_projector_type`; None where that code has no such projector."""
        return None

    @classmethod
    def published_prefix(cls, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """Return the prefix of its tensors in MobileVLM's layout and here."""
        return "model.mm_projector.", "projector."

    @classmethod
    def llama_cpp_name(cls, arguments: Mapping[str, Any]) -> str | None:
        """Return what llama.cpp's image encoder converter calls it; None: it has none."""
        return None

    @classmethod
    def transformers_prefixes(
        cls, arguments: Mapping[str, Any]
    ) -> tuple[tuple[str, str], ...] | None:
        """Return the prefixes in transformers' LLaVA and here; None where it has no such one."""
        return None
