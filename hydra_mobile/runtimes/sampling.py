"""How the next token is drawn from logits: temperature and top-p, from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import HydraError


@dataclass
class Sampler:
    """Draws tokens; equal seeds draw equal answers from equal logits.

    Attributes:
        temperature: divides the logits; 0 takes the largest, as everywhere else.
        top_p: draws from the fewest tokens whose probabilities sum to at least this (Holtzman et
            al., "The Curious Case of Neural Text Degeneration", 2020).
        seed: of the draws.

    Raises:
        HydraError: a value is outside of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    _random: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise HydraError(f"temperature is {self.temperature}, expected 0 to 100.")
        if not 0.0 < self.top_p <= 1.0:
            raise HydraError(f"top_p is {self.top_p}, expected more than 0, at most 1.")
        self._random = np.random.default_rng(self.seed)

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Return a token id from logits float32 [V]."""
        if self.temperature == 0.0:
            return int(logits.argmax())
        scaled = (logits.astype(np.float64) - float(logits.max())) / self.temperature
        likely = np.exp(scaled)
        likely /= likely.sum()
        # Stable: of equal probabilities the smaller id comes first.
        order = np.argsort(-likely, kind="stable")
        # The token with which the sum reaches top_p still belongs to them.
        before = np.cumsum(likely[order]) - likely[order]
        kept = order[before < self.top_p]
        shares = likely[kept] / likely[kept].sum()
        return int(self._random.choice(kept, p=shares))
