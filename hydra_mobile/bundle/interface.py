"""What the two sides of a bundle agree on: its three methods, its limits, what a target returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra_mobile.core.errors import HydraError

Log = Callable[[str], None]

#: The three graphs that every target makes, under the names that phone runtimes look up.
VISION_ENCODER = "vision_encoder"
TOKEN_EMBEDDING = "token_embedding"
TEXT_DECODER = "text_decoder"
METHODS = (VISION_ENCODER, TOKEN_EMBEDDING, TEXT_DECODER)


# Of any model, with room; the C++ runner has the same bound.
_LONGEST_CONTEXT = 10_000_000


@dataclass(frozen=True)
class Limits:
    """Sizes that are fixed when a program is made.

    Attributes:
        max_context: tokens that the cache holds: prompt, image and answer together.
        max_prefill: most tokens of one decoder call; longer prompts go in chunks.
    """

    max_context: int = 512
    max_prefill: int = 256

    def __post_init__(self) -> None:
        if self.max_context > _LONGEST_CONTEXT:
            # The cache is allocated for it.
            raise HydraError(
                f"max_context is {self.max_context:,}, expected at most {_LONGEST_CONTEXT:,}.",
                where="max_context",
                found=f"{self.max_context:,}",
            )
        if not 2 <= self.max_prefill < self.max_context:
            raise HydraError(
                f"Limits max_prefill={self.max_prefill}, max_context={self.max_context} "
                "do not fit: 2 <= max_prefill < max_context is needed.",
            )

    def to_dict(self) -> dict[str, int]:
        """Return the limits as the manifest stores them."""
        return asdict(self)


@dataclass(frozen=True)
class TargetResult:
    """What a target wrote.

    Attributes:
        files: role -> path relative to the folder, for example `{"program": "model.pte"}`.
        details: facts for the manifest and the report: delegation, attention build, operators that
            the runtime must have, seconds and peak memory of each step. JSON values only.
        fallbacks: one sentence for each part that did not get the precision the preset names.
        versions: package -> version of what made the files.
    """

    files: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
