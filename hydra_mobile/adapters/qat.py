"""Training that sees the 4 bits of export: a frozen base whose merged weights lie on the grid.

Merging folds the adapter into the base, W + s B A, and export rounds that. So that is what is
rounded here: while training, the forward pass of an adapted linear computes with
Q(W + s B A), of any other linear and of the embedding with Q(W). Q is the exporter's own rounding
to the nearest (`int4_grid.py`). Gradients pass straight through the rounding (Bengio et al.,
arXiv 1308.3432): A and B get those that they would get without it, at the rounded weights.

It takes no layer of its own. The weight that the frozen linear holds is replaced by
Q(W + s B A) - s B A, to which LoRA adds s B A; the sum is on the grid, and so is what the input's
gradient goes through. Nothing dense is differentiated, and peft, checkpointing of activations and
whoever moves ranks find the modules that they know.

torchao's QAT is not used: its fake quantizers for groups take the scale from the largest weight and
a zero point from the range, while ours is the candidate of least squared error that bfloat16 and
float16 both hold; and they replace the linears, which peft then does not find.

Codes follow every update. Scales are searched for when `renew` is called: seventeen candidates for
each group cost as much as a training step on a CPU. Activations stay as they are; exported
programs round those to 8 bits.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.int4_grid import GROUP, best_scales, on_grid
from hydra_mobile.adapters.lora_layers import ADAPTER
from hydra_mobile.core.errors import ConfigError


@dataclass
class _Part:
    """A linear or embedding that computes on the grid.

    Attributes:
        weight: the parameter whose values are replaced; of a LoRA layer the frozen one.
        plain: its own values [out, in].
        lora: the layer that wraps it; None: none.
        scales: float32 [out, in / group].
        seen: what its values were made from; None: they must be made anew.
    """

    weight: nn.Parameter
    plain: Tensor
    lora: Any
    scales: Tensor | None = None
    seen: tuple[int, ...] | None = None
    #: Whose ids are in `seen`: as long as they are held, no other tensor has these.
    held: tuple[Tensor, ...] = ()


class FakeQuant:
    """4-bit weights in the forward passes of a model, until `remove`.

    Example:
        >>> quant = FakeQuant(model.model.layers, group=32)
        >>> quant.watch(optimizer)  # codes follow its steps
    """

    def __init__(self, modules: nn.Module | Iterable[nn.Module], *, group: int = GROUP) -> None:
        """Put linears and embeddings on the grid.

        Args:
            modules: one module or several; every linear and embedding in them takes part, looked
                at through LoRA layers. A weight that two of them share counts once. Those whose
                inputs the group does not divide keep their weights: export gives them 8 bits.
            group: inputs that share a scale.

        Raises:
            ConfigError: an adapter has dropout or another form than LoRA, or a weight is packed.
        """
        self._group = group
        self._steps = 0
        self._parts: dict[str, _Part] = {}
        self._hooks: list[Any] = []
        roots = [modules] if isinstance(modules, nn.Module) else list(modules)
        shared: set[int] = set()
        for number, root in enumerate(roots):
            prefix = f"{number}." if len(roots) > 1 else ""
            for name, module in _quantizable(root):
                lora = module if hasattr(module, "lora_A") else None
                weight = (module.get_base_layer() if lora is not None else module).weight
                _require_plain(name, weight, lora)
                if weight.shape[1] % group or id(weight) in shared:
                    continue
                shared.add(id(weight))
                self._parts[f"{prefix}{name}"] = part = _Part(weight, weight.data, lora)
                self._hooks.append(module.register_forward_pre_hook(self._hook(part)))

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def extra_bytes(self) -> int:
        """Bytes that the second copy of the weights and their scales take."""
        weights = [part.plain for part in self._parts.values()]
        return sum(w.numel() * w.element_size() + 4 * w.numel() // self._group for w in weights)

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Make codes anew after each step of an optimizer: fused ones leave no other trace."""

        def stepped(*_: Any) -> None:
            self._steps += 1

        self._hooks.append(optimizer.register_step_post_hook(stepped))

    def renew(self) -> None:
        """Search for the scales again, as export will for the weights of this moment."""
        for part in self._parts.values():
            if part.lora is not None or part.scales is None:
                part.scales = part.seen = None
                _refresh(part, self._group, self._steps)

    def merged(self) -> dict[str, Tensor]:
        """Return the values float32 [out, in] that each part computes with now, by name."""
        found = {}
        for name, part in self._parts.items():
            _refresh(part, self._group, self._steps)
            update = _update(part)
            values = part.weight.data.float()
            found[name] = values if update is None else values + update
        return found

    def scales(self) -> dict[str, Tensor]:
        """Return the scales by part, for a checkpoint; bfloat16 holds them exactly."""
        return {
            name: part.scales.bfloat16()
            for name, part in self._parts.items()
            if part.scales is not None and part.lora is not None
        }

    def load_scales(self, scales: Mapping[str, Tensor]) -> None:
        """Take the scales of a checkpoint in place of a search."""
        for name, value in scales.items():
            if name in self._parts:
                part = self._parts[name]
                part.scales, part.seen = value.float().to(part.plain.device), None

    def remove(self) -> None:
        """Give the modules their own weights back; what LoRA has learned stays."""
        for hook in self._hooks:
            hook.remove()
        for part in self._parts.values():
            part.weight.data = part.plain
        self._hooks, self._parts = [], {}

    def _hook(self, part: _Part) -> Any:
        # The module must not keep this object alive through its hook.
        this = weakref.ref(self)

        def before(module: nn.Module, inputs: Any) -> None:
            found = this()
            if found is not None:
                _refresh(part, found._group, found._steps)

        return before


def bytes_for(model: nn.Module, group: int = GROUP) -> int:
    """Return the bytes that 4-bit weights in the forward passes of a model would add to it.

    Raises:
        ConfigError: as `FakeQuant`.
    """
    quant = FakeQuant(model, group=group)
    needed = quant.extra_bytes
    quant.remove()
    return needed


def _quantizable(root: nn.Module) -> Iterable[tuple[str, Any]]:
    """Yield linears, embeddings and, in place of those that they wrap, LoRA layers."""
    inside: tuple[str, ...] = ()
    for name, module in root.named_modules():
        if inside and name.startswith(inside):
            continue
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            # The root itself may be one.
            inside = (*inside, f"{name}." if name else "")
            if isinstance(module.get_base_layer(), nn.Linear):
                yield name, module
        elif isinstance(module, nn.Linear | nn.Embedding):
            yield name, module


def _require_plain(name: str, weight: Any, lora: Any) -> None:
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ConfigError(
            f"The weights of `{name}` are packed ({weight.dtype}): they cannot be put on the grid "
            "of export.",
            "Train with the base in full precision: runtime.base_precision=full.",
            where="stage2.qat",
        )
    if lora is None:
        return
    if ADAPTER not in lora.lora_A or getattr(lora, "use_dora", {}).get(ADAPTER):
        raise ConfigError(
            f"The adapter of `{name}` is no plain LoRA: what is merged is not W + s B A.",
            "Train LoRA with HyDRA's ranks, or without 4 bits.",
            where="stage2.qat",
        )
    dropout = lora.lora_dropout[ADAPTER]
    if isinstance(dropout, nn.Dropout) and dropout.p > 0:
        raise ConfigError(
            f"The adapter of `{name}` has dropout: its forward pass is not that of merged weights.",
            "Set ranks.dropout=0.",
            where="ranks.dropout",
            found=str(dropout.p),
            expected="0 with stage2.qat",
        )


def _update(part: _Part) -> Tensor | None:
    """Return s B A float32 [out, in], as merging adds it; None without an adapter."""
    if part.lora is None:
        return None
    a, b = part.lora.lora_A[ADAPTER].weight, part.lora.lora_B[ADAPTER].weight
    # The order of merging: the scale is folded into B.
    found: Tensor = (b.detach().float() * part.lora.scaling[ADAPTER]) @ a.detach().float()
    return found


def _refresh(part: _Part, group: int, steps: int) -> None:
    """Bring the values of a part up to date with its adapter."""
    now: tuple[int, ...] = ()
    if part.lora is not None:
        a, b = part.lora.lora_A[ADAPTER].weight, part.lora.lora_B[ADAPTER].weight
        # A rank event replaces the tensors; loading a checkpoint counts up their versions.
        now = (id(a), id(b), a._version, b._version, steps)
        part.held = (a, b)
    if part.seen == now:
        return
    with torch.no_grad():
        update = _update(part)
        plain = part.plain.float()
        # As the merged folder stores it.
        whole = plain if update is None else (plain + update).to(part.plain.dtype).float()
        blocks = whole.reshape(whole.shape[0], -1, group)
        if part.scales is None:
            part.scales = best_scales(blocks)
        scale = part.scales[..., None]
        values = (on_grid(blocks, scale) * scale).reshape(whole.shape)
        if update is not None:
            values -= update
        # Another tensor: one that a backward pass still needs stays as it was.
        part.weight.data = values.to(part.plain.dtype)
    part.seen = now
