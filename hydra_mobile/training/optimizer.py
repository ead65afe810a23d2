"""AdamW and its schedule: linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

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
        self._names = [list(parameters) for _, parameters in groups.values()]
        self._peaks = [rate for rate, _ in groups.values()]
        #: For those who replace parameters in place (`adapters/resize.py`).
        self.inner = torch.optim.AdamW(
            [
                {"params": list(parameters.values()), "lr": rate}
                for rate, parameters in groups.values()
            ],
            betas=(0.9, 0.999),
            weight_decay=config.weight_decay,
            # Updates all tensors of a group in one go: several times faster for many small ones.
            fused=True,
        )

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield all parameters with their names, group by group."""
        for names, group in zip(self._names, self.inner.param_groups, strict=True):
            yield from zip(names, group["params"], strict=True)

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters, group by group."""
        return [parameter for _, parameter in self.named()]

    def step(self, factor: float) -> None:
        """Take one step at `factor` times the peak rates; gradients stay."""
        for group, peak in zip(self.inner.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.inner.step()

    def drop_gradients(self) -> None:
        """Free all gradients."""
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return moments and step counts as `{name}.{exp_avg|exp_avg_sq|step}`."""
        return {
            f"{name}.{key}": value
            for name, parameter in self.named()
            for key, value in self.inner.state.get(parameter, {}).items()
        }

    def load(self, flat: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned; parameters without state keep none."""
        for name, parameter in self.named():
            state = {
                key: flat[f"{name}.{key}"].detach().clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}.{key}" in flat
            }
            for key in ("exp_avg", "exp_avg_sq"):
                if key in state:
                    state[key] = state[key].to(parameter.device)
            if state:
                # A fused AdamW wants its step count where the parameter is.
                state["step"] = state["step"].to(parameter.device)
                self.inner.state[parameter] = state
            else:
                self.inner.state.pop(parameter, None)
