"""LoRA at HyDRA's ranks on any model that peft can wrap, for training loops that are not ours.

`Hydra` chooses the linears, keeps the ledger, puts LoRA in, and saves it as plain peft LoRA. Ranks
that follow measured importance begin uniform; somebody who sees the training steps must bring them
about: `HydraCallback` (`trainer_callback.py`) does so under the transformers `Trainer`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hydra_mobile.adapters import lora
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.adapters.lora_layers import adapted_linears
from hydra_mobile.adapters.policies import PolicyInput, allocate, needs_importance
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import Shrink, resize
from hydra_mobile.adapters.save_load import read_safetensors, save_adapter
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.core.files import read_json, write_atomically, write_json
from hydra_mobile.core.registry import nearest

SCHEMA = 1
STATE_FILE = "hydra_state.json"
TENSOR_FILE = "hydra_lora.safetensors"
ALL_LINEAR = "all-linear"

#: A linear under a module whose name holds one of these is not of the language model.
_OTHER_THAN_LANGUAGE = ("vision", "visual", "image", "audio", "projector", "connector", "resampler")


@dataclass(frozen=True)
class Dynamic:
    """When ranks may move, and what may be spent on finding out where to.

    Attributes:
        warmup: share of the steps before the first event; importance is measured at its end.
        every: share of the steps between events.
        until: share of the steps after which ranks stay.
        target: what the performance model learns from: the difference in held-out loss between
            two maps trained on the same batches from the same start, or the run's own held-out
            loss without its trend (free, and nearly always too little to act on).
        probe_steps: steps that a probed map is trained for, and the map in force beside it.
        candidates: maps probed at an event.
        probe_share: most steps of all probes, held-out losses included, as a share of the run's
            own.
        calibration_batches: micro-batches over which importance is measured.
    """

    warmup: float = 0.10
    every: float = 0.05
    until: float = 0.70
    target: Literal["paired_probe", "passive"] = "paired_probe"
    probe_steps: int = 10
    candidates: int = 2
    probe_share: float = 0.07
    calibration_batches: int = 32


class Hydra:
    """A model with LoRA whose ranks follow a policy, within the budget of uniform LoRA.

    Attributes:
        model: the model, changed in place: LoRA added, everything else frozen.
        budget: the ledger.
        policy: name of the rank policy.
        dynamic: see `Dynamic`.
        seed: seeds A, new rows, random policies and probes.
        shrink: what a shrinking module keeps, see `resize.py`.
        waits: whether ranks are uniform because importance is not known yet.
        resume: what `restore` read, until training goes on from it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        r_ref: int,
        alpha_ref: float,
        targets: str | Sequence[str],
        policy: str = "hydra",
        rank_step: int | None = None,
        r_min: int | None = None,
        r_max: int | None = None,
        importance: Mapping[str, float] | Literal["gradient", "update"] = "gradient",
        map_file: str | Path | None = None,
        seed: int = 0,
        dropout: float = 0.0,
        shrink: Shrink = "index",
        dynamic: Dynamic | None = None,
    ) -> None:
        """Put LoRA into `model` and freeze everything else, as peft's `get_peft_model` does.

        Args:
            model: a model without LoRA whose linears are `nn.Linear`.
            r_ref: rank of the uniform LoRA whose parameter count is never exceeded.
            alpha_ref: the scale is alpha_ref / r_ref for every module, whatever its rank.
            targets: the linears to adapt: their full names; or a regular expression that matches
                full names from end to end; or "all-linear", see `target_names`.
            policy: hydra, coarse_fine, coarse, uniform, random, reversed or fixed.
            rank_step: ranks are multiples of it; by default an eighth of `r_ref`, from 1 to 8.
            r_min: lowest rank, at least 1; by default `rank_step`.
            r_max: highest rank; by default twice `r_ref`.
            importance: what the warm-up at uniform ranks is asked for, the "gradient" of the frozen
                weights or the "update" that each adapter learned; or a score of every adapted
                module, for example `importance.measure(...).mean_of_norms`: ranks are then right
                from the start.
            map_file: the rank_map.json or ranks.jsonl of policy `fixed`.
            seed: see the class.
            dropout: dropout on the input of A.
            shrink: see the class.
            dynamic: see the class.

        Raises:
            ConfigError: no linear matches, or a setting contradicts another.
        """
        step = rank_step if rank_step is not None else max(1, min(8, r_ref // 8))
        lowest = step if r_min is None else r_min
        if lowest < 1:
            raise ConfigError(
                f"r_min is {lowest}, but a module cannot appear or vanish in training.",
                "Use r_min=1 or more.",
            )
        if not isinstance(importance, str):
            importance = {name: float(score) for name, score in importance.items()}
        elif importance not in ("gradient", "update"):
            raise ConfigError(
                f"importance is {importance!r}; give `gradient`, `update` or scores by module."
            )
        self.model = model
        self.policy = policy
        self.dynamic = dynamic or Dynamic()
        self.seed = seed
        self.shrink: Shrink = shrink
        self.budget = Budget.of(model, target_names(model, targets), r_ref)
        self.resume: dict[str, Any] | None = None
        self._importance = importance
        self._alpha_ref = float(alpha_ref)
        self._settings: dict[str, Any] = {
            "r_ref": r_ref,
            "alpha_ref": self._alpha_ref,
            "targets": targets if isinstance(targets, str) else list(targets),
            "policy": policy,
            "rank_step": step,
            "r_min": lowest,
            "r_max": r_max,
            "importance": importance,
            "map_file": str(map_file) if map_file else None,
            "seed": seed,
            "dropout": dropout,
            "shrink": shrink,
            "dynamic": dataclasses.asdict(self.dynamic),
        }
        self.waits = needs_importance(policy) and isinstance(importance, str)
        if self.waits:
            first = RankMap(dict.fromkeys(self.budget.cost, r_ref))
            _ = self.grid  # refuses bounds that make no grid before hours are spent
        else:
            first = self.allocate(importance if isinstance(importance, dict) else None)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        lora.inject(model, first, r_ref=r_ref, alpha_ref=alpha_ref, dropout=dropout, seed=seed)
        self.budget.check_live(model)

    @classmethod
    def from_checkpoint(cls, model: nn.Module, folder: str | Path) -> Hydra:
        """Put LoRA into `model` as it was when a Trainer checkpoint was written.

        For a training that goes on, `trainer.train(resume_from_checkpoint=folder)` must follow;
        otherwise the adapter can be used and saved as it is.

        Args:
            model: the base model, without LoRA.
            folder: a checkpoint folder in which `HydraCallback` left its files.

        Raises:
            ArtifactError: a file is missing or is not of this version.
        """
        settings = dict(_read_state(Path(folder))["settings"])
        settings["dynamic"] = Dynamic(**settings["dynamic"])
        hydra = cls(model, **settings)
        hydra.restore(folder)
        return hydra

    # -- ranks ----------------------------------------------------------------------------------

    @property
    def rank_map(self) -> RankMap:
        """The ranks that the model's LoRA tensors have now."""
        return self.budget.rank_map(lora.live_rank_map(self.model))

    @property
    def importance(self) -> Mapping[str, float] | None:
        """The scores given at the beginning, if any."""
        return self._importance if isinstance(self._importance, dict) else None

    @property
    def watches(self) -> bool:
        """Whether importance comes from watched backward passes."""
        return self._importance == "gradient"

    @property
    def grid(self) -> Grid:
        """The ranks that a module may have."""
        return self._inputs(None).grid

    def allocate(self, importance: Mapping[str, float] | None) -> RankMap:
        """Return the ranks that the policy chooses; the model stays as it is."""
        return allocate(self.policy, self._inputs(importance))

    # -- files ----------------------------------------------------------------------------------

    def save(
        self,
        folder: str | Path,
        *,
        base_name: str = "",
        base_sha: str = "",
        even_if_uniform: bool = False,
    ) -> None:
        """Write the LoRA as plain peft LoRA, read again with stock peft and compared.

        Args:
            folder: the folder to write or replace.
            base_name: name or hub id of the base; by default what its configuration says.
            base_sha: sha256 that tells the base from others, for example
                `identity.base_identity(folder).sha256`; by default the hash of the base weights
                in memory, see `weights_sha256`.
            even_if_uniform: save although the ranks were never allocated.

        Raises:
            HydraError: ranks should have followed importance and never did.
            ArtifactError: stock peft reads something else than was written.
        """
        if self.waits and not even_if_uniform:
            raise HydraError(
                f"The ranks of policy `{self.policy}` were never allocated: all are still "
                f"{self.budget.r_ref}. The callback never ran, or training ended in the warm-up.",
                "Train with `Trainer(..., callbacks=[HydraCallback(hydra)])`, or ask for "
                "policy='uniform'; `even_if_uniform=True` saves what is there.",
            )
        config = getattr(self.model, "config", None)
        name = base_name or getattr(config, "_name_or_path", "") or type(self.model).__name__
        save_adapter(
            self.model,
            Path(folder),
            rank_map=self.rank_map,
            budget=self.budget,
            alpha_ref=self._alpha_ref,
            base=BaseIdentity(name, base_sha or weights_sha256(self.model)),
        )

    def write_checkpoint(self, folder: Path, step: int, progress: Mapping[str, Any]) -> None:
        """Put what `restore` needs into a checkpoint folder.

        Args:
            folder: the folder.
            step: optimizer steps done.
            progress: JSON values of whoever moves the ranks.
        """
        tensors = lora.extract_state(self.model)
        with write_atomically(folder / TENSOR_FILE) as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
        state = {
            "schema": SCHEMA,
            "step": step,
            "settings": self._settings,
            "waits": self.waits,
            "ranks": dict(self.rank_map),
            "progress": progress,
        }
        write_json(folder / STATE_FILE, state)

    def restore(self, folder: str | Path) -> None:
        """Bring the LoRA to the ranks and values of a checkpoint, before training goes on.

        Call it before `trainer.train(resume_from_checkpoint=folder)`: the Trainer can load
        tensors and optimizer state only into ranks that are already those of the checkpoint.

        Raises:
            ArtifactError: a file is missing, or the checkpoint was made with other settings.
        """
        folder = Path(folder)
        state = _read_state(folder)
        for key, value in self._settings.items():
            if state["settings"].get(key) != value:
                raise ArtifactError(
                    f"{folder / STATE_FILE} was written with {key}="
                    f"{state['settings'].get(key)!r}, this run has {value!r}.",
                    "Use the same settings, or `Hydra.from_checkpoint`, which reads them.",
                )
        ranks = RankMap(state["ranks"])
        if set(ranks) != set(self.budget.cost):
            raise ArtifactError(f"{folder / STATE_FILE} adapts other modules than this model.")
        resize(self.model, ranks, self.budget, seed=self.seed)
        self.waits = bool(state["waits"])
        self.resume = {**state, "folder": str(folder)}
        self.load_tensors(folder)

    def load_tensors(self, folder: Path) -> None:
        """Copy a checkpoint's LoRA tensors into the model, which has its ranks."""
        lora.load_state(self.model, read_safetensors(folder / TENSOR_FILE))

    def _inputs(self, importance: Mapping[str, float] | None) -> PolicyInput:
        settings = self._settings
        return PolicyInput(
            budget=self.budget,
            importance=importance,
            rank_step=settings["rank_step"],
            r_min=settings["r_min"],
            r_max=settings["r_max"],
            seed=self.seed,
            map_file=Path(settings["map_file"]) if settings["map_file"] else None,
        )


def target_names(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Return the full names of the linears to adapt, in the model's order.

    "all-linear" takes every linear but the output embeddings and those under a module whose name
    holds vision, visual, image, audio, projector, connector or resampler: where a model has a
    tower and a projector, only its language model is adapted.

    Args:
        model: the model.
        targets: full names, a regular expression for full names, or "all-linear".

    Raises:
        ConfigError: a name is no linear, the expression is none, or nothing matches.
    """
    linears = adapted_linears(model)
    if not isinstance(targets, str):
        for name in targets:
            if name not in linears:
                raise ConfigError(
                    f"`{name}` is no linear module of the model.", nearest(name, linears)
                )
        chosen = set(targets)
        return [name for name in linears if name in chosen]
    if targets == ALL_LINEAR:
        found = [n for n in linears if not _is_head(model, n) and _is_language(n)]
    else:
        try:
            pattern = re.compile(targets)
        except re.error as error:
            raise ConfigError(f"targets={targets!r} is no regular expression: {error}.") from None
        found = [name for name in linears if pattern.fullmatch(name)]
    if not found:
        raise ConfigError(
            f"targets={targets!r} matches none of the model's {len(linears)} linears.",
            f"It must match a whole name; some are: {', '.join(sorted(linears)[:4])}.",
        )
    return found


def weights_sha256(model: nn.Module) -> str:
    """Return a hash of a model's base weights: names, types, shapes and bytes, LoRA left out.

    The same for the bare base and for the base with LoRA in it. It differs from the hash of the
    base's files, which `identity.base_identity` gives.
    """
    digest = hashlib.sha256()
    of_lora = set()
    for name in lora.live_rank_map(model):
        of_lora |= {f"{name}.lora_{side}.default.weight" for side in "AB"}
    tensors: dict[str, Tensor] = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if name not in of_lora
    }
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def _is_head(model: nn.Module, name: str) -> bool:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return head is not None and model.get_submodule(name) is head


def _is_language(name: str) -> bool:
    return not any(word in name.lower() for word in _OTHER_THAN_LANGUAGE)


def _read_state(folder: Path) -> dict[str, Any]:
    state = read_json(folder / STATE_FILE, "what HydraCallback writes into a Trainer checkpoint")
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise ArtifactError(f"{folder / STATE_FILE} is not of schema {SCHEMA}.")
    return state
