"""HyDRA's stage II, once for every training loop: LoRA whose ranks follow a policy.

`Hydra` chooses the linears, keeps the budget, puts LoRA in, and during training brings the ranks
about. A loop calls `before_step`, `after_backward` and `after_step`; `hydra-mobile train` does so
in `training/strategies/lora.py`, the transformers `Trainer` through `HydraCallback`.
The result is saved as plain peft LoRA.

Ranks that follow measured importance begin uniform. The backward passes at the end of the warm-up
(or the updates that it learned) give the importance, and the policy's map comes then. Where the
policy moves ranks, a controller of `dynamic/` does. Everything else is plain LoRA: the engine then
changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import save_file
from torch import nn

from hydra_mobile.adapters import broadcast, lora
from hydra_mobile.adapters.allocate import Grid
from hydra_mobile.adapters.allocate_kinds import relative_to_kind
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.compensation import Compensate, words
from hydra_mobile.adapters.dynamic.cells import groups_of
from hydra_mobile.adapters.dynamic.controller import RankController
from hydra_mobile.adapters.dynamic.probe_controller import ProbeController
from hydra_mobile.adapters.dynamic.schedule import Schedule
from hydra_mobile.adapters.dynamic.settings import DynamicConfig, Start
from hydra_mobile.adapters.dynamic.trailing_controller import TrailingController
from hydra_mobile.adapters.frozen_norms import keep_statistics
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.adapters.importance import BackwardImportance, Importance, learned_update
from hydra_mobile.adapters.policies import PolicyInput, allocate, policy_named
from hydra_mobile.adapters.policies.hydra import start_policy
from hydra_mobile.adapters.probe_loop import ProbeLoop
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.resize import Shrink, resize
from hydra_mobile.adapters.save_load import read_safetensors, save_adapter
from hydra_mobile.adapters.targets import target_names
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.core.files import read_json, write_atomically, write_json

SCHEMA = 1
STATE_FILE = "hydra_state.json"
TENSOR_FILE = "hydra_lora.safetensors"

Source = Literal["gradient", "update", "update_by_kind"]
"""Where importance comes from at the end of the warm-up."""

Record = Callable[[dict[str, Any]], None]
"""Takes a rank event as a dictionary in the form of ranks.jsonl."""


class Hydra:
    """A model with LoRA whose ranks follow a policy, within the budget of uniform LoRA.

    Attributes:
        model: the model, changed in place: LoRA added, everything else frozen.
        budget: the parameter budget.
        policy: name of the rank policy.
        dynamic: see `DynamicConfig`.
        seed: seeds A, new rows, random policies and probes.
        shrink: what a shrinking module keeps, see `resize.py`.
        compensate: what of a module falls as r_ref / rank, see `compensation.py`.
        waits: whether ranks are uniform because importance is not known yet.
        measured: the importance at the end of the warm-up, once it is known.
        restored: what `restore` read, until training resumes from it.
        schedule, controller: when ranks may move and who decides; there from `begin` on.
    """

    schedule: Schedule
    controller: RankController

    def __init__(
        self,
        model: nn.Module,
        *,
        r_ref: int,
        alpha_ref: float,
        targets: str | Sequence[str],
        policy: str = "hydra",
        start: Start = "auto",
        rank_step: int | None = None,
        r_min: int | None = None,
        r_max: int | None = None,
        importance: Mapping[str, float] | Source = "gradient",
        calibration_batches: int = 32,
        map_file: str | Path | None = None,
        ranks: Mapping[str, int] | None = None,
        seed: int = 0,
        dropout: float = 0.0,
        shrink: Shrink = "index",
        compensate: Compensate = "neither",
        dynamic: DynamicConfig | None = None,
        freeze: bool = True,
    ) -> None:
        """Put LoRA into `model` and freeze everything else, as peft's `get_peft_model` does.

        Args:
            model: a model without LoRA whose linears are `nn.Linear`.
            r_ref: rank of the uniform LoRA whose parameter count is never exceeded.
            alpha_ref: the scale is alpha_ref / r_ref for every module, whatever its rank, unless
                `compensate` says otherwise.
            targets: the linears to adapt: their full names; or a regular expression that matches
                full names from end to end; or "all-linear", see `target_names`.
            policy: a name in `policies.POLICIES`.
            start: the policy that chooses the first ranks of policy `hydra`; "auto": see
                `policies.hydra.start_policy`.
            rank_step: ranks are multiples of it; by default an eighth of `r_ref`, from 1 to 8.
            r_min: lowest rank, at least 1; by default `rank_step`.
            r_max: highest rank; by default twice `r_ref`.
            importance: what the warm-up at uniform ranks gives: the "gradient" of the frozen
                weights, the "update" that each adapter learned, or that update relative to its
                kind of projection ("update_by_kind"); or a score of every adapted module, for
                example `importance.measure(...).mean_of_norms`: ranks are then right from the
                start.
            calibration_batches: micro-batches over which the "gradient" is measured.
            map_file: the rank_map.json or ranks.jsonl of policy `fixed`.
            ranks: the first ranks themselves, in place of the policy's; no warm-up changes them.
            seed: see the class.
            dropout: dropout on the input of A.
            shrink: see the class.
            compensate: see the class.
            dynamic: see the class.
            freeze: False leaves `requires_grad` of all other parameters as it is.

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
        elif importance not in get_args(Source):
            raise ConfigError(
                f"importance is {importance!r}; give {', '.join(get_args(Source))} or scores by "
                "module."
            )
        self.model = model
        self.policy = policy
        self.dynamic = dynamic or DynamicConfig()
        self.seed = seed
        self.shrink: Shrink = shrink
        self.compensate: Compensate = compensate
        self.budget = Budget.of(model, target_names(model, targets), r_ref)
        self.measured: Importance | None = None
        self.restored: dict[str, Any] | None = None
        self._importance = importance
        self._alpha_ref = float(alpha_ref)
        self._settings: dict[str, Any] = {
            "r_ref": r_ref,
            "alpha_ref": self._alpha_ref,
            "targets": targets if isinstance(targets, str) else list(targets),
            "policy": policy,
            "start": start,
            "rank_step": step,
            "r_min": lowest,
            "r_max": r_max,
            "importance": importance,
            "calibration_batches": calibration_batches,
            "map_file": str(map_file) if map_file else None,
            "ranks": dict(ranks) if ranks else None,
            "seed": seed,
            "dropout": dropout,
            "shrink": shrink,
            "compensate": compensate,
            "dynamic": self.dynamic.to_dict(),
            "freeze": freeze,
        }
        self._policy = policy_named(policy)
        self._start = start_policy(start, self.dynamic.target) if self._policy.moves else policy
        needs = policy_named(self._start).needs_importance
        self.waits = ranks is None and needs and isinstance(importance, str)
        self._label = policy
        self._accumulation = 1
        self._watched_steps = 0
        self._watching: BackwardImportance | None = None
        self._loop: ProbeLoop | None = None
        self._inject(self._first_ranks(ranks), dropout, freeze)

    @classmethod
    def from_checkpoint(cls, model: nn.Module, folder: str | Path) -> Hydra:
        """Put LoRA into `model` as it was when a Trainer checkpoint was written.

        For a training that resumes, `trainer.train(resume_from_checkpoint=folder)` must follow;
        otherwise the adapter can be used and saved as it is.

        Args:
            model: the base model, without LoRA.
            folder: a checkpoint folder in which `HydraCallback` left its files.

        Raises:
            ArtifactError: a file is missing or is not of this version.
        """
        settings = dict(_read_state(Path(folder))["settings"])
        settings["dynamic"] = DynamicConfig(**settings["dynamic"])
        hydra = cls(model, **settings)
        hydra.restore(folder)
        return hydra

    def _first_ranks(self, ranks: Mapping[str, int] | None) -> RankMap:
        if ranks is not None:
            return self.budget.rank_map(ranks)
        if self.waits:
            _ = self.grid  # refuses bounds that make no grid before hours are spent
            return RankMap(dict.fromkeys(self.budget.cost, self.budget.r_ref))
        return self.allocate(self.importance)

    def _inject(self, rank_map: RankMap, dropout: float, freeze: bool) -> None:
        rank_map = broadcast.broadcast(rank_map)
        if freeze:
            self.model.requires_grad_(False)
            keep_statistics(self.model)
        lora.inject(
            self.model,
            rank_map,
            r_ref=self.budget.r_ref,
            alpha_ref=self._alpha_ref,
            dropout=dropout,
            seed=self.seed,
            compensate=self.compensate,
        )
        self.budget.check_live(self.model)
        broadcast.require_same("the ranks", self.rank_map.digest())

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
    def moves(self) -> bool:
        """Whether the policy moves ranks after the warm-up."""
        return self._policy.moves

    @property
    def grid(self) -> Grid:
        """The ranks that a module may have."""
        return self._inputs(None).grid

    def allocate(self, importance: Mapping[str, float] | None) -> RankMap:
        """Return the first ranks that the policy chooses; the model stays as it is."""
        return allocate(self._start, self._inputs(importance))

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

    # -- training -------------------------------------------------------------------------------

    def begin(
        self,
        steps: int,
        record: Record,
        *,
        accumulation: int = 1,
        processes: int = 1,
        held_out_batches: int | None = None,
        incumbent_trains: bool = True,
        moves: bool = True,
        label: str = "",
    ) -> None:
        """Get ready for a run; `start` or `load` follow, and `attach` before the first step.

        Args:
            steps: optimizer steps of the run.
            record: takes every rank event.
            accumulation: micro-batches of a step and process.
            processes: of the run.
            held_out_batches: micro-batches of a held-out loss; by default those of `dynamic`.
            incumbent_trains: see `RankController`.
            moves: False keeps the dynamic stage of a policy that has one from acting.
            label: name of the policy in the events, where it is not the policy's own.

        Raises:
            HydraError: the run is too short for ranks to be allocated in it.
            ArtifactError: the file of `dynamic.observations` is missing or broken.
        """
        timing = self.dynamic
        self.schedule = Schedule.of_run(steps, timing)
        if self.waits and not self.schedule.has_warmup:
            raise HydraError(
                f"A run of {steps} steps is too short: ranks would never be allocated.",
                "Train for more steps, or use policy='uniform'.",
            )
        self._label = label or self.policy
        self._accumulation = accumulation
        batches = self._settings["calibration_batches"]
        self._watched_steps = math.ceil(batches / (accumulation * processes))
        names = list(self.budget.cost)
        self._watching = self._new_watching()
        held_out = timing.holdout_batches if held_out_batches is None else held_out_batches
        # A forward pass is about a third of a step.
        forward_steps = 1 / (3 * accumulation)
        if timing.target == "trailing":
            self.controller = TrailingController(
                self.rank_map,
                self.budget,
                self.grid,
                self.schedule,
                timing,
                record,
                policy=self._label,
                active=self.moves and moves,
                forward_steps=forward_steps,
                held_out_batches=held_out,
                seed=self.seed,
            )
            return
        self.controller = ProbeController(
            self.rank_map,
            self.budget,
            self.grid,
            groups_of(names, self.importance),
            self.schedule,
            timing,
            record,
            policy=self._label,
            seed=self.seed,
            active=self.moves and moves,
            incumbent_trains=incumbent_trains,
            forward_steps=forward_steps,
            held_out_batches=held_out,
        )

    def start(self) -> None:
        """Record the first ranks of a run that begins."""
        reason = f"ranks of policy {self._label}"
        if self.waits:
            reason = f"uniform until importance is known, after step {self.schedule.warmup_end}"
        if falls := words(self.compensate, self.budget.r_ref):
            reason += f"; {falls}"
        self.controller.record(0, "initial", reason, ranks=dict(self.rank_map))
        self.controller.announce()

    def attach(self, loop: ProbeLoop) -> None:
        """Take steps, snapshots and changes of rank through `loop`, see `ProbeLoop`."""
        self._loop = loop

    def watches(self, step: int) -> bool:
        """Return whether the backward passes of step `step` (from 0) give the importance."""
        return self._watching is not None and step >= self.schedule.warmup_end - self._watched_steps

    def before_step(self, step: int) -> None:
        """Begin to watch backward passes when the end of the warm-up is near.

        Args:
            step: number of the step that is about to be taken, from 0.
        """
        if self._watching and self.watches(step):
            self._watching.watch()

    def after_backward(
        self, step: int, kind: Literal["image", "text"], scale: float | None = None
    ) -> None:
        """Count a micro-batch that went backward, its loss divided by the accumulation.

        Args:
            step: number of the step that it belongs to, from 0.
            kind: whether it has pictures, so that the rarer kind counts as much.
            scale: factor from the loss that went backward to the micro-batch's mean loss, where
                it is not the accumulation.
        """
        if self._watching and self.watches(step):
            self._watching.take(kind, self._accumulation if scale is None else scale)

    def after_step(self, step: int) -> None:
        """Do what is due after `step` steps: the end of the warm-up, of a probe, or an event.

        Gradients must be gone. Tensors of the model and the optimizer may be others afterwards.
        """
        if self.waits and step == self.schedule.warmup_end:
            self._end_warmup(step)
        self.controller.after_step(step, self._running)

    def put(self, rank_map: RankMap, step: int, kind: str, reason: str) -> None:
        """Bring the model to `rank_map` after `step` steps and record it as an event of `kind`."""
        self.controller.put(rank_map, step, kind, reason, self._running)

    def rest(self) -> None:
        """Stop watching backward passes; what was seen stays."""
        if self._watching:
            self._watching.rest()

    @property
    def _running(self) -> ProbeLoop:
        if self._loop is None:
            raise RuntimeError("`attach` comes before the first step")
        return self._loop

    def _end_warmup(self, step: int) -> None:
        """Bring the policy's map, from what the warm-up showed."""
        if self._watching:
            self.rest()
            self.measured = self._watching.result(broadcast.mean)
            self._watching = None
            source = f"gradients of {self.measured.batches} micro-batches of the warm-up"
        else:
            self.measured = learned_update(self.model)
            source = "the updates that the warm-up learned"
            if self._importance == "update_by_kind":
                norms = self.measured.mean_of_norms
                self.measured = Importance(relative_to_kind(norms, self.budget.cost), 0)
                source += ", relative to their kind of projection"
        scores = self.measured.mean_of_norms
        if isinstance(self.controller, ProbeController):
            self.controller.regroup(groups_of(list(self.budget.cost), scores))
        reason = f"ranks of policy {self._label} from {source}"
        self.put(self.allocate(scores), step, "allocate", reason)
        self.waits = False

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold in addition to tensors and ranks, as JSON values."""
        watching = self._watching.state() if self._watching else None
        return {
            "controller": self.controller.state(),
            "watching": watching,
            "waits": self.waits,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned, after `begin` and at the ranks of the checkpoint."""
        self.controller.load(state["controller"])
        # Trainer checkpoints of earlier versions have the key outside of this state.
        self.waits = bool(state.get("waits", self.waits))
        self._watching = self._new_watching()
        if self._watching and state["watching"]:
            self._watching.load(state["watching"])

    def _new_watching(self) -> BackwardImportance | None:
        if self.waits and self._importance == "gradient":
            return BackwardImportance(self.model, self.budget.cost)
        return None

    # -- files ----------------------------------------------------------------------------------

    def save(
        self,
        folder: str | Path,
        *,
        base_name: str = "",
        base_sha: str = "",
        even_if_uniform: bool = False,
    ) -> None:
        """Write the LoRA as plain peft LoRA, verified by loading it with stock peft.

        Args:
            folder: the folder to write or replace.
            base_name: name or hub id of the base; by default what its configuration says.
            base_sha: sha256 that tells the base from others, for example
                `identity.base_identity(folder).sha256`; by default the hash of the base weights
                in memory, see `lora.weights_sha256`.
            even_if_uniform: save although the ranks were never allocated.

        Raises:
            HydraError: ranks should have followed importance and never did.
            ArtifactError: stock peft reads something else than was written.
        """
        if self.waits and not even_if_uniform:
            raise HydraError(
                f"The ranks of policy `{self.policy}` were never allocated: all are still "
                f"{self.budget.r_ref}. The callback never ran, or training ended in the warm-up.",
                "Train with `Trainer(..., callbacks=[HydraCallback(hydra)])`, or use "
                "policy='uniform'; `even_if_uniform=True` saves the adapter as it is.",
            )
        config = getattr(self.model, "config", None)
        name = base_name or getattr(config, "_name_or_path", "") or type(self.model).__name__
        save_adapter(
            self.model,
            Path(folder),
            rank_map=self.rank_map,
            budget=self.budget,
            alpha_ref=self._alpha_ref,
            base=BaseIdentity(name, base_sha or lora.weights_sha256(self.model)),
            compensate=self.compensate,
        )

    def write_checkpoint(self, folder: Path, step: int) -> None:
        """Put what `restore` needs into a checkpoint folder.

        Args:
            folder: the folder.
            step: optimizer steps done.
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
            "progress": {"steps": self.schedule.steps, **self.state()},
        }
        write_json(folder / STATE_FILE, state)

    def restore(self, folder: str | Path) -> None:
        """Bring the LoRA to the ranks and values of a checkpoint, before training resumes.

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
        resize(self.model, ranks, self.budget, seed=self.seed, compensate=self.compensate)
        self.waits = bool(state["waits"])
        self.restored = {**state, "folder": str(folder)}
        self.load_tensors(folder)

    def load_tensors(self, folder: Path) -> None:
        """Copy a checkpoint's LoRA tensors into the model, which has its ranks."""
        lora.load_state(self.model, read_safetensors(folder / TENSOR_FILE))


def _read_state(folder: Path) -> dict[str, Any]:
    state = read_json(folder / STATE_FILE, "what HydraCallback writes into a Trainer checkpoint")
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise ArtifactError(f"{folder / STATE_FILE} is not of schema {SCHEMA}.")
    settings = dict(state["settings"])
    dynamic = dict(settings["dynamic"])
    # Until November 2026 this was among the dynamic settings, and two of those did not exist.
    if "calibration_batches" in dynamic:
        settings["calibration_batches"] = dynamic.pop("calibration_batches")
    # Nor was there a choice of the target's kind until then: all were probes.
    dynamic = DynamicConfig(target="paired_probe").to_dict() | dynamic
    settings = {"ranks": None, "freeze": True, "start": "auto", "compensate": "neither"} | settings
    settings["dynamic"] = dynamic
    return {**state, "settings": settings}
