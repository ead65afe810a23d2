"""AdaLoRA as a baseline at equal budget: peft's own layers and allocator, in a foreign loop.

peft leaves to the caller when the allocator runs and what is compared with what; this file settles
both.

**Equal budget** means parameters that are trained at any time. AdaLoRA starts with more triplets
(row of A, singular value E, column of B) than it keeps and masks the rest to E = 0; A, B and the
optimizer's state keep their first size to the end. So the *initial* rank is the largest whose A,
E and B together cost at most the reference, and the target is the initial rank / 1.5 (12 to 8, the
defaults of peft). The authors count the target only and let AdaLoRA train 1.5 x as much.

**Scale.** peft computes W x + alpha / (ranknum + 1e-5) * B (A * E) x. ranknum is the initial rank
and stays so, whatever is masked. With alpha = s (r_init + 1e-5) every module has LoRA's constant
scale s = alpha_ref / r_ref to the last bits of fp32, at the start and after every allocation.

**Order of a step** (steps count from 1; the importance needs the gradients)::

    loss = adalora.model(**batch).loss   # with the orthogonality penalty
    loss.backward()
    optimizer.step()
    adalora.update(step)
    optimizer.zero_grad()
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import AdaLoraConfig, AdaLoraModel
from torch import Tensor, nn

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.lora import inject, remove
from hydra_mobile.adapters.lora_layers import ADAPTER, lora_layers, lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import ArtifactError, ConfigError

#: Initial rank over target rank: 12 over 8, the defaults of peft.
RATIO = 1.5
#: Standard deviation of A and B at the start, as in peft; E starts at zero.
INITIAL_DEVIATION = 0.02
_KINDS = ("lora_A", "lora_E", "lora_B")
_AVERAGES = ("exp_avg_ipt", "exp_avg_unc")
# What peft adds to ranknum in the denominator.
_EPSILON = 1e-5


def initial_rank(names: Sequence[str], budget: Budget) -> int:
    """Return the largest rank at which A, E and B of all modules cost at most the reference.

    Raises:
        BudgetError: a name is not in the budget.
        ConfigError: the rank is below 2, so that there is nothing to take away.
    """
    per_rank = budget.cost_of(dict.fromkeys(names, 1)) + len(names)
    rank = budget.reference // per_rank
    if rank < 2:
        raise ConfigError(
            f"AdaLoRA would start at rank {rank}: the budget is {budget.reference:,} parameters, "
            f"a rank on all modules costs {per_rank:,} with its singular values.",
            "Raise r_ref to 3 or more.",
        )
    return rank


class AdaLora:
    """AdaLoRA layers in a model, and the allocator that masks them.

    Attributes:
        model: what to call for the training loss: peft adds its orthogonality penalty to the
            output's `loss`. Evaluate with the model that was given to `build`.
        names: the adapted modules.
        initial_rank: rank of every module's tensors, from the first step to the last.
        target_rank: mean rank that is kept in the end.
        final_step: the step of the last allocation; from then on the masks stay.
    """

    def __init__(
        self,
        model: Any,
        names: Sequence[str],
        budget: Budget,
        *,
        alpha_ref: float,
        dropout: float,
        seed: int,
    ) -> None:
        """Use `build`."""
        self.model = model
        self.names = list(names)
        self._budget = budget
        self._lora: dict[str, Any] = {"alpha_ref": alpha_ref, "dropout": dropout, "seed": seed}
        self._scale = alpha_ref / budget.r_ref
        self._config: Any = model.peft_config[ADAPTER]
        self._allocator: Any = model.rankallocator
        self.initial_rank: int = self._config.init_r
        self.target_rank: int = self._config.target_r
        self.final_step: int = self._config.total_step - self._config.tfinal

    @classmethod
    def build(
        cls,
        model: nn.Module,
        names: Sequence[str],
        budget: Budget,
        *,
        alpha_ref: float,
        total_steps: int,
        dropout: float = 0.0,
        warmup_share: float = 0.1,
        final_share: float = 0.3,
        delta_steps: int | None = None,
        penalty: float = 0.5,
        seed: int = 0,
    ) -> AdaLora:
        """Wrap linears with AdaLoRA layers, in place.

        As `lora.inject`: the wrapped linears become frozen, every other parameter's
        `requires_grad` stays, the tensors are fp32, the start comes from a private generator.

        Args:
            model: the base model, without LoRA.
            names: fully qualified names of linears; matched exactly.
            budget: the parameter budget; must hold the names.
            alpha_ref: with `budget.r_ref` it gives the scale alpha_ref / r_ref of all modules.
            total_steps: optimizer steps of the whole training.
            dropout: probability of dropout on the input of A.
            warmup_share: share of the steps before the first allocation.
            final_share: share of the steps after the last one.
            delta_steps: steps between two allocations; None means every 500th part of
                `total_steps`, at least 1.
            penalty: weight of the orthogonality penalty; 0.5 is peft's default.
            seed: seeds A and B, together with each module's name.

        Raises:
            ConfigError: the model carries LoRA, a name is not a linear, the budget is too small or
                the steps leave no room for an allocation.
            BudgetError: a name is not in the budget.
        """
        if lora_layers(model):
            raise ConfigError("The model already carries LoRA layers.", "Call `remove` first.")
        # Also raises for names that are not linears.
        Budget.of(model, names, budget.r_ref)
        rank = initial_rank(names, budget)
        warmup, final = round(warmup_share * total_steps), round(final_share * total_steps)
        if warmup >= total_steps - final:
            raise ConfigError(
                f"Of {total_steps} steps AdaLoRA warms up for {warmup} and freezes for {final}: "
                "no step is left to allocate.",
                "Train for more steps, or lower the shares.",
            )
        scale = alpha_ref / budget.r_ref
        config = AdaLoraConfig(
            init_r=rank,
            target_r=round(rank / RATIO),
            lora_alpha=scale * (rank + _EPSILON),
            # A string is matched against the whole name, a list against its end.
            target_modules="|".join(re.escape(name) for name in names),
            lora_dropout=dropout,
            bias="none",
            tinit=warmup,
            tfinal=final,
            deltaT=delta_steps or max(1, total_steps // 500),
            total_step=total_steps,
            orth_reg_weight=penalty,
        )
        trainable = {name: p.requires_grad for name, p in model.named_parameters()}
        # peft initializes A and B from the global generator before we overwrite them.
        with torch.random.fork_rng(devices=[]):
            wrapper = AdaLoraModel(model, config, ADAPTER)
        wrapper.training = model.training
        frozen = {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
        for name, parameter in model.named_parameters():
            base_name = name.replace(".base_layer.", ".")
            if base_name in trainable:
                parameter.requires_grad_(trainable[base_name] and base_name not in frozen)
        layers = lora_layers(model)
        if set(layers) != set(names):
            wrong = sorted(set(layers) ^ set(names))[:4]
            raise RuntimeError(f"peft adapted other modules than it was asked to: {wrong}")
        for name, layer in layers.items():
            # peft builds its layers in training mode, with live dropout, in an eval-mode model.
            layer.train(layer.get_base_layer().training)
            _initialize(layer, name, rank, seed)
        built = cls(wrapper, names, budget, alpha_ref=alpha_ref, dropout=dropout, seed=seed)
        if built.held() > budget.reference:
            raise RuntimeError(f"AdaLoRA holds {built.held():,} parameters, above the reference.")
        return built

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained tensors: `<module>.lora_A` (r, in), `.lora_E` (r, 1), `.lora_B`."""
        layers = lora_layers(self.model.model)
        return {
            f"{name}.{kind}": getattr(layers[name], kind)[ADAPTER]
            for name in self.names
            for kind in _KINDS
        }

    def held(self) -> int:
        """Return the number of parameters that are trained, masked ones included."""
        return sum(parameter.numel() for parameter in self.parameters().values())

    def penalty(self) -> Tensor:
        """Return what `model` adds to the loss: a scalar, to be taken off before losses compare."""
        with torch.no_grad():
            terms = []
            for name, p in self.parameters().items():
                if not name.endswith("lora_E"):
                    square = p @ p.T if name.endswith("lora_A") else p.T @ p
                    eye = torch.eye(len(square), dtype=p.dtype, device=p.device)
                    terms.append(torch.linalg.matrix_norm(square - eye))
            weight: float = self._config.orth_reg_weight
            return weight * torch.stack(terms).mean()

    def update(self, step: int) -> RankMap | None:
        """Take the step's gradients into the importance, and mask triplets where it is time.

        Call after every optimizer step, before `zero_grad`: peft multiplies the parameters with
        their gradients. A call that is left out leaves masked triplets alive.

        Args:
            step: number of optimizer steps done, from 1 to `total_steps`.

        Returns:
            The ranks kept if this step allocated, else None.

        Raises:
            RuntimeError: a gradient is missing.
            ConfigError: the importance is not finite.
        """
        if step < self.final_step:
            missing = [name for name, p in self.parameters().items() if p.grad is None]
            if missing:
                raise RuntimeError(f"`{missing[0]}` has no gradient; update before zero_grad.")
        before = self._config.rank_pattern
        self.model.update_and_allocate(step)
        if self._config.rank_pattern is before:
            return None
        ranks = self.ranks()
        allowed, _ = self._allocator.budget_schedule(step)
        # No comparison with a NaN is true: a NaN among the scores would mask nothing, silently.
        if sum(ranks.values()) > allowed:
            raise ConfigError(
                f"AdaLoRA kept {sum(ranks.values())} triplets at step {step}, its schedule "
                f"allows {allowed}: the importance is not finite.",
                "A gradient overflowed: lower the learning rate or train in fp32.",
            )
        return ranks

    def ranks(self) -> RankMap:
        """Return the triplets that the last allocation kept; before the first, all of them.

        Up to `final_step` a masked triplet still trains and may come back at the next allocation;
        from then on the masked ones are those with E = 0.
        """
        pattern = self._config.rank_pattern
        if pattern is None:
            return RankMap(dict.fromkeys(self.names, self.initial_rank))
        return RankMap({name: sum(pattern[_key(name, "lora_E")]) for name in self.names})

    def state(self) -> dict[str, Tensor]:
        """Return copies on the CPU of all that a bit-identical resume needs, save the optimizer.

        The tensors under the names of `parameters`; the allocator's averages as
        `<parameter>.exp_avg_ipt` and `.exp_avg_unc`; the last masks as `<module>.kept`, bool (r,).
        Averages are there between the first step and `final_step`, masks after the first
        allocation. peft's third statistic, `ipt`, is computed afresh before every use.
        """
        state = {name: p.detach() for name, p in self.parameters().items()}
        for name in self.names:
            for kind in _KINDS:
                for average in _AVERAGES:
                    values = getattr(self._allocator, average)
                    if _key(name, kind) in values:
                        state[f"{name}.{kind}.{average}"] = values[_key(name, kind)]
        pattern = self._config.rank_pattern
        if pattern is not None:
            for name in self.names:
                state[f"{name}.kept"] = torch.tensor(pattern[_key(name, "lora_E")])
        return {name: tensor.cpu().clone() for name, tensor in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned, into layers built with the same names and budget.

        Raises:
            ArtifactError: a tensor is missing, unknown or of another shape.
        """
        parameters = self.parameters()
        averages = {f"{p}.{average}" for p in parameters for average in _AVERAGES}
        masks = {f"{name}.kept" for name in self.names}
        # Averages and masks are there for all modules or for none.
        expected = set(parameters)
        expected |= averages if averages & set(state) else set()
        expected |= masks if masks & set(state) else set()
        differing = sorted(expected ^ set(state))
        if differing:
            raise ArtifactError(
                f"The saved AdaLoRA state is not that of the model: {differing[:4]} differ."
            )
        for name, parameter in parameters.items():
            if parameter.shape != state[name].shape:
                raise ArtifactError(
                    f"`{name}` was saved with shape {tuple(state[name].shape)}, the model has "
                    f"{tuple(parameter.shape)}.",
                    "Build AdaLoRA with the same modules and r_ref as the saved run.",
                )
        self._allocator.reset_ipt()
        with torch.no_grad():
            for full_name, parameter in parameters.items():
                parameter.copy_(state[full_name])
                key = _key(*full_name.rsplit(".", 1))
                if f"{full_name}.{_AVERAGES[0]}" in state:
                    # peft starts the averages at zero where it finds no `ipt`.
                    self._allocator.ipt[key] = torch.zeros_like(parameter)
                    for average in _AVERAGES:
                        value = state[f"{full_name}.{average}"].to(parameter.device, copy=True)
                        getattr(self._allocator, average)[key] = value
        self._config.rank_pattern = {
            _key(name, "lora_E"): state[f"{name}.kept"].tolist()
            for name in self.names
            if f"{name}.kept" in state
        } or None

    def to_lora(self) -> RankMap:
        """Replace the AdaLoRA layers by plain LoRA that computes the same, in place.

        A module gets the rank of its triplets with E other than 0, with A * E as its A; a module
        without any gets no LoRA. The model is then as after `lora.inject`; this object is spent.

        Returns:
            The ranks, within the budget.

        Raises:
            ConfigError: every E is zero, as before the first step.
        """
        model: nn.Module = self.model.model
        tensors: dict[str, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            for name, layer in lora_layers(model).items():
                a, e, b = (getattr(layer, kind)[ADAPTER] for kind in _KINDS)
                kept = e.flatten() != 0
                factor = layer.scaling[ADAPTER] / (layer.ranknum[ADAPTER] + _EPSILON)
                tensors[name] = (a * e)[kept], b[:, kept] * (factor / self._scale)
        ranks = self._budget.rank_map({name: len(a) for name, (a, _) in tensors.items()})
        if not ranks:
            raise ConfigError("Every singular value of AdaLoRA is zero: nothing was trained.")
        remove(model)
        inject(model, ranks, r_ref=self._budget.r_ref, **self._lora)
        with torch.no_grad():
            for name, pair in lora_tensors(model).items():
                for parameter, tensor in zip(pair, tensors[name], strict=True):
                    parameter.copy_(tensor)
        self._budget.check_live(model)
        return ranks


def _key(name: str, kind: str) -> str:
    """Return the name by which peft's allocator knows a tensor."""
    return f"{name}.{kind}.{ADAPTER}"


def _initialize(layer: Any, name: str, rank: int, seed: int) -> None:
    """Set fp32 tensors: A and B normal from generators of their own, E zero."""
    device = layer.lora_A[ADAPTER].device
    if device.type == "meta":
        return
    for kind in _KINDS:
        tensors = getattr(layer, kind)
        value = torch.zeros(tensors[ADAPTER].shape)
        if kind != "lora_E":
            digest = hashlib.sha256(f"{seed}:{name}:{kind}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            value.normal_(0.0, INITIAL_DEVIATION, generator=generator)
        tensors[ADAPTER] = nn.Parameter(value.to(device))
    # In half precision, as peft leaves it in a half-precision base, the epsilon would be lost.
    ranknum = torch.full((1,), float(rank), device=device)
    layer.ranknum[ADAPTER] = nn.Parameter(ranknum, requires_grad=False)
