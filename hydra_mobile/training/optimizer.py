"""AdamW and its schedule: linear warm-up, then a cosine to zero. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hydra_mobile.config import StageConfig


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the factor on the peak rate for optimizer step `step`, counted from 0."""
    rising = math.ceil(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


class NamedAdamW:
    """AdamW over named parameters, its state saved and loaded by name.

    Names, not positions, tie a moment to its parameter, so that a checkpoint survives any change
    in the order of parameters.
    """

    def __init__(
        self, groups: Mapping[str, tuple[float, Mapping[str, nn.Parameter]]], config: StageConfig
    ) -> None:
        self.names = {
            id(parameter): name
            for _, parameters in groups.values()
            for name, parameter in parameters.items()
        }
        self._peaks = [rate for rate, _ in groups.values()]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(parameters.values()), "lr": rate}
                for rate, parameters in groups.values()
            ],
            betas=(0.9, 0.999),
            weight_decay=config.weight_decay,
            # Updates all tensors of a group in one go: several times faster for many small ones.
            fused=True,
        )

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters, group by group."""
        return [p for group in self._optimizer.param_groups for p in group["params"]]

    def step(self, factor: float) -> None:
        """Take one step at `factor` times the peak rates and drop the gradients."""
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return moments and step counts as `{name}.{exp_avg|exp_avg_sq|step}`."""
        flat: dict[str, Tensor] = {}
        for parameter in self.parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                flat[f"{self.names[id(parameter)]}.{key}"] = value
        return flat

    def load(self, flat: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned; parameters without state keep none."""
        for parameter in self.parameters():
            name = self.names[id(parameter)]
            state = {
                key: flat[f"{name}.{key}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}.{key}" in flat
            }
            if state:
                self._optimizer.state[parameter] = state
