"""A training run from data to adapter, in stages, each of which can be killed and gone on with.

The order is fixed: vision features, alignment and captions (stage I, projector), conversations
(stage II: projector and what the rank policy trains in the language model), result. What is not in
the last checkpoint is a function of what is, so that a resumed run ends bit for bit where an
uninterrupted one would (same processes, fp32, same machine).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.save_load import save_adapter
from hydra_mobile.config import STAGE_TITLES, StageConfig, TrainConfig
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import SILENT, Log, Progress, Stage, silent
from hydra_mobile.data.source import require_source
from hydra_mobile.models.model_card import loading_code
from hydra_mobile.models.processor import PROCESSOR_FILE
from hydra_mobile.training.batches import cells, collate
from hydra_mobile.training.begun import alone_in
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.compiling import compile_layers
from hydra_mobile.training.contrastive import alignment_loss, caption_vectors
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import StepResult, not_finite, qat_begins, train_step
from hydra_mobile.training.machine import peak_memory_bytes, separate_state
from hydra_mobile.training.memory.dry_peak import dry_peak
from hydra_mobile.training.memory.estimate import MemoryEstimate, estimate
from hydra_mobile.training.memory.out_of_memory import StepFacts, advising
from hydra_mobile.training.merged import write_merged
from hydra_mobile.training.metrics import STAGES, MetricsFile
from hydra_mobile.training.optimizer import NamedAdamW, learning_rate_factor
from hydra_mobile.training.random_state import RandomState
from hydra_mobile.training.run_data import VALIDATION, RunData, stage_files
from hydra_mobile.training.run_folder import RunFolder
from hydra_mobile.training.run_identity import recorded_revision
from hydra_mobile.training.setup import TrainingModel
from hydra_mobile.training.strategies import Result, StageTwo, Strategy, strategy_class
from hydra_mobile.training.trackers import Trackers, require_trackers
from hydra_mobile.training.validation import Standing, Validation

# Pictures per step of the contrastive alignment: more negatives cost next to nothing.
_ALIGN_BATCH = 128


@dataclass
class _Place:
    """Where the run is, and what it spent to get there."""

    stage: str = "align"
    step: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    conversations: dict[str, int] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    def reached(self, stage: str) -> int:
        """Return steps done in `stage`: 0 if it is ahead, -1 if it is over."""
        here, there = STAGES.index(self.stage), STAGES.index(stage)
        return self.step if here == there else 0 if here < there else -1


class TrainingRun:
    """One run folder: config.yaml, metrics.jsonl, ranks.jsonl, checkpoints/, best/, adapter/.

    Args:
        config: the run's settings.
        log: receives a line for each event.
        progress: shows the stages; of several processes only the first one's.
    """

    def __init__(self, config: TrainConfig, log: Log = silent, progress: Progress = SILENT) -> None:
        self.config = config
        self._log_line = log
        self._progress = progress
        self.folder = Path(config.output)
        self.metrics = MetricsFile(self.folder / "metrics.jsonl")
        self.samples = MetricsFile(self.folder / "samples.jsonl")
        self._place = _Place()
        self._main, self._quiet = True, False
        self._trackers = Trackers([], self.folder, {}, None, log)

    # -- the whole ------------------------------------------------------------------------------

    def train(self, resume: bool = False) -> Path:
        """Train, or go on; return the adapter folder (for policy `full`: the merged folder).

        Raises:
            HydraError: the run folder is in use, was made with another configuration or data, or
                something is wrong with data, base or disk.
        """
        # Before the model is loaded, which takes long.
        strategy_class(self.config.ranks.policy).check(self.config)
        require_trackers(list(self.config.runtime.trackers))
        for file in stage_files(self.config).values():
            require_source(file)
        with alone_in(self.folder, resume=resume), separate_state():
            # The base that it began with, whatever the hub serves under that name today.
            revision = recorded_revision(self.folder, self.config.base) if resume else ""
            setup = TrainingModel(self.config, self._say, revision)
            base = setup.base
            folder = RunFolder(self.config, setup.processes.count, base.sha256, base.revision)
            try:
                return self._train(setup, folder, resume)
            finally:
                setup.processes.close()

    def _train(self, setup: TrainingModel, folder: RunFolder, resume: bool) -> Path:
        processes = setup.processes
        self._main = processes.main
        if not self._main:
            self._progress = SILENT
        self.data = RunData(setup, self._progress, self._say)
        processes.first(lambda: folder.open(resume))
        done = [self.folder / name for name in ("adapter", "merged") if self._finished(name)]
        if done:
            self._say(f"{self.folder} is complete; nothing to do.")
            return done[0]
        self._run_folder = folder
        self._prepare_features()
        checkpoint = folder.checkpoint() if resume else None
        strategy = self.strategy(setup)
        if checkpoint:
            self._restore(setup, strategy, checkpoint)
        elif self._main:
            self._keep_until(STAGES[0], 0)
            folder.keep_best(0)
            RankHistory.of_run(self.folder).keep_until(-1)
        if self._main:
            self._start_trackers(resume)
        try:
            if self.config.data.stage1:
                self._stage1(setup, checkpoint)
            if self._place.stage != "stage2":
                strategy.start()
            self._stage(setup, "stage2", self.config.stage2, checkpoint, strategy)
            return self._finish(setup, strategy)
        finally:
            self._trackers.finish()

    def _start_trackers(self, resume: bool) -> None:
        place, names = self._place, list(self.config.runtime.trackers)
        done = self._steps_before(place.stage) + place.step if resume else None
        settings = self.config.to_dict()
        rows = self.metrics.read() if names and resume else []
        history = [self._tracked(**row) for row in rows]
        self._trackers = Trackers(names, self.folder, settings, done, self._say, history)

    def _finished(self, name: str) -> bool:
        return (self.folder / "summary.json").is_file() and (self.folder / name).is_dir()

    def _say(self, text: str) -> None:
        if self._main and not self._quiet:
            self._log_line(text)

    # -- data and model -------------------------------------------------------------------------

    def prepare(self) -> TrainingModel:
        """Make the model and the data ready, without touching the run folder."""
        strategy_class(self.config.ranks.policy).check(self.config)
        setup = TrainingModel(self.config, self._say)
        self.data = RunData(setup, self._progress, self._say)
        self._prepare_features()
        return setup

    def _prepare_features(self) -> None:
        began = time.monotonic()
        self.data.prepare()
        self._place.seconds["features"] = time.monotonic() - began

    def strategy(self, setup: TrainingModel) -> Strategy:
        """Return what trains the language model in stage II; nothing is in the model yet."""
        stream, objective = self.data.stream("stage2"), self.data.objective("stage2")
        return strategy_class(self.config.ranks.policy)(
            StageTwo(self.config, setup, stream, objective, self.folder, self._say)
        )

    def estimate_memory(
        self, setup: TrainingModel, trained: Iterable[nn.Parameter]
    ) -> MemoryEstimate:
        """Estimate the peak of stage II from its largest micro-batch: what is alive then."""
        return estimate(setup.model, trained, **self._largest_step(setup))

    def dry_peak(self, setup: TrainingModel, trained: Iterable[nn.Parameter]) -> int:
        """Run the largest micro-batch of stage II without an update; return the peak in bytes."""
        return dry_peak(setup.model, trained, **self._largest_step(setup))

    def _largest_step(self, setup: TrainingModel) -> dict[str, Any]:
        largest, objective = self.data.stream("stage2").largest(), self.data.objective("stage2")
        return {
            "make_inputs": lambda: objective.inputs(largest, collate(largest)),
            "autocast_dtype": torch.bfloat16 if setup.precision == "bf16" else None,
            "device": setup.accelerator.device,
            "accumulation": self.config.stage2.accumulation,
            "copies": self._copies(setup),
        }

    def _copies(self, setup: TrainingModel) -> int:
        """Return the bytes of weights that are held twice while training sees 4 bits."""
        if not self.config.stage2.qat:
            return 0
        from hydra_mobile.adapters.qat import bytes_for

        return bytes_for(setup.model.language_model)

    def _announce_memory(self, setup: TrainingModel, optimizer: NamedAdamW) -> None:
        """Say what stage II will take, before hours are spent on it."""
        # Sharded weights have no shape that one process could simulate.
        if setup.processes.kind == "fsdp":
            return
        alive = self.estimate_memory(setup, optimizer.parameters()).total
        self._say(f"memory: {alive / 2**30:.2f} GiB at least, estimated")
        largest = self.data.stream("stage2").largest()
        with advising(partial(self._step_facts, "stage2", self.config.stage2, [largest])):
            peak = self.dry_peak(setup, optimizer.parameters())
        self._say(f"memory: {peak / 2**30:.2f} GiB peak, measured on the largest batch")

    # -- checkpoints ----------------------------------------------------------------------------

    def _restore(self, setup: TrainingModel, strategy: Strategy, checkpoint: Checkpoint) -> None:
        facts = checkpoint.facts
        self._place = _Place(
            checkpoint.stage,
            checkpoint.step,
            dict(facts["seconds"]),
            dict(facts["conversations"]),
            Standing.from_dict(facts.get("validation")),
        )
        self._load(setup, strategy, checkpoint)
        checkpoint.random_states[setup.processes.index].restore()
        if self._main:
            self._keep_until(checkpoint.stage, checkpoint.step)
            self._run_folder.keep_best(self._place.standing.best_step)
            done = checkpoint.step if checkpoint.stage == "stage2" else -1
            RankHistory.of_run(self.folder).keep_until(done)
        self._say(f"resumed at {checkpoint.stage}, step {checkpoint.step}")

    @staticmethod
    def _load(setup: TrainingModel, strategy: Strategy, checkpoint: Checkpoint) -> None:
        trained = setup.projector_parameters()
        if checkpoint.stage == "stage2":
            strategy.restore(checkpoint.facts["method"])
            trained |= strategy.parameters()
            strategy.load_tensors(checkpoint.extra)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(checkpoint.trained[name])

    def _keep_until(self, stage: str, step: int) -> None:
        for file in (self.metrics, self.samples):
            if file is self.metrics or file.path.exists():
                file.keep_until(stage, step)

    def _save(
        self, setup: TrainingModel, moments: Mapping[str, Tensor], strategy: Strategy | None = None
    ) -> None:
        checkpoint = self._checkpoint(setup, moments, strategy)
        if self._main:
            self._run_folder.save(checkpoint)
            # Only now: until here a resumed run would have gone back to an older best one.
            self._run_folder.keep_best(self._place.standing.best_step)
        setup.processes.barrier()

    def _checkpoint(
        self, setup: TrainingModel, moments: Mapping[str, Tensor], strategy: Strategy | None
    ) -> Checkpoint:
        place, processes = self._place, setup.processes
        state = RandomState.now()
        states = zip(processes.gather(state.cpu), processes.gather(state.cuda), strict=True)
        trained: dict[str, nn.Parameter] = setup.projector_parameters()
        if strategy:
            trained |= strategy.parameters()
        return Checkpoint(
            place.stage,
            place.step,
            trained,
            moments,
            strategy.tensors() if strategy else {},
            {
                "method": strategy.state() if strategy else None,
                "seconds": place.seconds,
                "conversations": place.conversations,
                "validation": place.standing.to_dict(),
            },
            [RandomState(cpu, cuda) for cpu, cuda in states],
        )

    # -- stages ---------------------------------------------------------------------------------

    def _stage1(self, setup: TrainingModel, checkpoint: Checkpoint | None) -> None:
        if self.config.stage1.align_steps and self._place.reached("align") == 0:
            self._align(setup)
        self._stage(setup, "stage1", self.config.stage1, checkpoint)

    def _align(self, setup: TrainingModel) -> None:
        steps = self.config.stage1.align_steps
        pictures, answers = zip(*self.data.captions(), strict=True)
        # With a space, as words are inside a question: byte-level BPE has other tokens for those.
        captions = [setup.processor.text_ids(f" {answer}") for answer in answers]
        table = setup.model.language_model.get_input_embeddings().weight.detach()
        targets = caption_vectors(table, captions)
        token_rms = float(table.float().pow(2).mean().sqrt())
        numbers = {answer: i for i, answer in enumerate(dict.fromkeys(answers))}
        label = torch.tensor([numbers[answer] for answer in answers])
        optimizer = setup.optimizer("stage1", {})
        vision = self.data.features("stage1")
        device = setup.accelerator.device
        began = time.monotonic()
        with self._progress.stage("align", steps, 0, "images") as bar:
            for step in range(steps):
                chosen = torch.randint(
                    len(pictures),
                    (min(_ALIGN_BATCH, len(pictures)),),
                    generator=torch.Generator().manual_seed(self.config.seed * 100_003 + step),
                )
                features = vision.batch([(pictures[int(i)],) for i in chosen])
                with setup.accelerator.autocast():
                    embeddings = setup.model.project(features.to(device))
                same = label[chosen].unsqueeze(0) == label[chosen].unsqueeze(1)
                loss = alignment_loss(
                    embeddings, targets[chosen].to(device), same.to(device), token_rms
                )
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise not_finite("loss of the alignment", value, step)
                loss.backward()  # type: ignore[no-untyped-call]
                # Every process does all of this, with the same numbers.
                optimizer.step(learning_rate_factor(step, steps, self.config.stage1.warmup))
                optimizer.drop_gradients()
                self._log("align", step + 1, steps, loss=value)
                bar.advance(step + 1, len(chosen), f"loss {value:.3f}", peak_memory_bytes(device))
        self._place.seconds["align"] = time.monotonic() - began
        self._place.stage, self._place.step = "align", steps
        self._save(setup, {})

    def _stage(
        self,
        setup: TrainingModel,
        name: str,
        config: StageConfig,
        checkpoint: Checkpoint | None,
        strategy: Strategy | None = None,
    ) -> None:
        start = self._place.reached(name)
        stream, objective = self.data.stream(name), self.data.objective(name)
        if start < 0 or start >= stream.steps or self._place.standing.stopped:
            return
        optimizer = setup.optimizer(name, strategy.parameters() if strategy else {})
        if start and checkpoint:
            optimizer.load(checkpoint.moments)
        if strategy:
            if self.config.runtime.memory_check:
                # Before the strategy's hooks are on: they count every backward pass.
                self._announce_memory(setup, optimizer)
            strategy.begin(optimizer)
            if self.config.runtime.compile:
                # Last: the announcement above runs the layers as they are.
                compile_layers(setup.model.language_model)
        else:
            wrapped = setup.processes.wrap(setup.model)
        spent = self._place.seconds.get(name, 0.0)
        began = time.monotonic()
        setup.model.train()
        validation = self._validation(setup) if strategy else None
        with self._progress.stage(STAGE_TITLES[name], stream.steps, start, "questions") as bar:
            for step in range(start, stream.steps):
                if strategy:
                    strategy.before_step(step)
                    wrapped = strategy.wrapped
                with advising(partial(self._step_facts, name, config, stream.step_rows(step))):
                    result = train_step(
                        wrapped,
                        objective,
                        optimizer,
                        stream,
                        config,
                        step,
                        setup.processes,
                        strategy,
                    )
                    self._place.stage, self._place.step = name, step + 1
                    if strategy:
                        strategy.after_step(step + 1)
                self._place.seconds[name] = spent + time.monotonic() - began
                held_out = {}
                if validation and strategy and self._is_due(step + 1, stream.steps):
                    held_out = self._validate(setup, validation, strategy)
                self._report(setup, bar, name, config, stream.steps, result, held_out, strategy)
                every = self.config.runtime.checkpoint_every
                ended = step + 1 == stream.steps or self._place.standing.stopped
                if ended or (every and (step + 1) % every == 0):
                    self._save(setup, optimizer.state(), strategy)
                if ended:
                    break
        setup.model.eval()

    # -- validation -----------------------------------------------------------------------------

    def _validation(self, setup: TrainingModel) -> Validation | None:
        rows = self.data.rows.get(VALIDATION)
        return Validation(setup, rows, self.data.objective(VALIDATION)) if rows else None

    def _is_due(self, step: int, steps: int) -> bool:
        return step == steps or step % self.config.runtime.evaluate_every == 0

    def _validate(
        self, setup: TrainingModel, validation: Validation, strategy: Strategy
    ) -> dict[str, float]:
        """Validate the step that was just taken; keep it where it is the best so far."""
        place = self._place
        loss = validation.loss(strategy.wrapped)
        if not math.isfinite(loss):
            # Compared with others it would only never be the best.
            raise not_finite("held-out loss", loss, place.step - 1)
        samples = validation.answers(strategy.wrapped)
        patience = self.config.runtime.early_stopping if strategy.any_step else 0
        begins = qat_begins(self.config.stage2, self.data.stream("stage2").steps) or 0
        if place.step <= begins:
            # Of other weights than the result's: not to be compared.
            self._say(f"step {place.step}: held-out loss {loss:.4f}, before 4 bits")
            return {"validation_loss": loss}
        before, place.standing = place.standing, place.standing.after(place.step, loss, patience)
        if strategy.any_step and place.standing.best_step != before.best_step:
            best = self._checkpoint(setup, {}, strategy)
            if self._main:
                self._run_folder.save_best(best)
            setup.processes.barrier()
        if self._main:
            for sample in samples:
                self.samples.append("stage2", place.step, **sample)
        self._say(
            f"step {place.step}: held-out loss {loss:.4f}, best {place.standing.best_loss:.4f}"
        )
        if place.standing.stopped:
            self._say(
                f"stage 2 ends early: no lower held-out loss in {place.standing.since_best} "
                f"validations since step {place.standing.best_step}"
            )
        return {"validation_loss": loss}

    def _best(self, setup: TrainingModel, strategy: Strategy) -> tuple[TrainingModel, Strategy]:
        """Return model and strategy as they were at the best step, where that is not the last."""
        standing = self._place.standing
        if not strategy.any_step or standing.best_step in (0, self._place.step):
            return setup, strategy
        self._say(f"the result is that of step {standing.best_step}, the best on held-out data")
        checkpoint = self._run_folder.best(standing.best_step)
        setup = TrainingModel(self.config, silent)
        self._quiet = True
        strategy = self.strategy(setup)
        self._load(setup, strategy, checkpoint)
        self._quiet = False
        setup.model.eval()
        return setup, strategy

    def _step_facts(
        self, stage: str, config: StageConfig, batches: Iterable[list[Row]]
    ) -> StepFacts:
        """Return what running out of memory in this step would be blamed on."""
        largest = max(batches, key=cells)
        data, runtime = self.config.data, self.config.runtime
        return StepFacts(
            stage=stage,
            rows=len(largest),
            tokens=max(row.length for row in largest),
            batch_size=config.batch_size,
            accumulation=config.accumulation,
            questions_per_row=data.questions_per_row if data.share_prefix else 1,
            max_length=data.max_length,
            gradient_checkpointing=runtime.gradient_checkpointing,
            four_bit=runtime.base_precision == "4bit",
        )

    def _report(
        self,
        setup: TrainingModel,
        bar: Stage,
        name: str,
        config: StageConfig,
        steps: int,
        result: StepResult,
        held_out: Mapping[str, float],
        strategy: Strategy | None,
    ) -> None:
        """Show and log the step that was just taken."""
        place, step = self._place, self._place.step
        seen = place.conversations.get(name, 0) + result.conversations
        place.conversations[name] = seen
        memory = peak_memory_bytes(setup.accelerator.device)
        shown = f"loss {result.loss:.3f}"
        if held_out:
            shown += f", held out {held_out['validation_loss']:.3f}"
        if strategy and strategy.note:
            shown += f", {strategy.note}"
        bar.advance(step, result.conversations, shown, memory)
        self._log(
            name,
            step,
            steps,
            loss=result.loss,
            gradient_norm=result.gradient_norm,
            learning_rate=config.learning_rate * result.learning_rate_factor,
            conversations=seen,
            seconds=round(place.seconds[name], 3),
            peak_memory_bytes=memory,
            **held_out,
        )

    def _log(self, stage: str, step: int, steps: int, **values: Any) -> None:
        due = step in (1, steps) or step % self.config.runtime.log_every == 0
        if self._main and (due or "validation_loss" in values):
            self.metrics.append(stage, step, **values)
            self._trackers.log(*self._tracked(stage, step, **values))

    def _tracked(self, stage: str, step: int, **values: Any) -> tuple[int, dict[str, Any]]:
        """Return a row of the metrics as trackers take it: the step over all stages, and names."""
        named = {f"{stage}/{name}": value for name, value in values.items()}
        return self._steps_before(stage) + step, named

    def _steps_before(self, stage: str) -> int:
        """Return the steps of the stages before one, for trackers, which have one axis."""
        if not self.config.data.stage1 or stage == "align":
            return 0
        align = self.config.stage1.align_steps
        return align if stage == "stage1" else align + self.data.stream("stage1").steps

    # -- result ---------------------------------------------------------------------------------

    def _finish(self, setup: TrainingModel, strategy: Strategy) -> Path:
        setup, strategy = self._best(setup, strategy)
        result = strategy.finish()
        out = self.folder / ("adapter" if result.rank_map else "merged")
        if self._main:
            write_json(self.folder / "summary.json", self._summary(setup, result))
            self._write_result(setup, result, out)
        setup.processes.barrier()
        return out

    def _summary(self, setup: TrainingModel, result: Result) -> dict[str, Any]:
        ranks, standing = self.config.ranks, self._place.standing
        projector = sum(p.numel() for p in setup.projector_parameters().values())
        probes = {k: v for k, v in result.facts.items() if k.startswith("probe")}
        trained = {k: v for k, v in result.facts.items() if k not in probes}
        budget = {"budget": result.budget.reference} if result.budget else {}
        return {
            "base": setup.base.name,
            "base_sha256": setup.base.sha256,
            "policy": ranks.policy,
            "r_ref": ranks.r_ref,
            "precision": setup.precision,
            "device": str(setup.accelerator.device),
            "processes": setup.processes.count,
            "parameters": {**trained, **budget, "projector": projector},
            "steps": {n: m["step"] for m in self.metrics.read() if (n := m["stage"])},
            "seconds": self._place.seconds,
            "conversations": self._place.conversations,
            "probes": probes,
            "peak_memory_bytes": peak_memory_bytes(setup.accelerator.device),
            **({"validation": standing.to_dict()} if standing.best_step else {}),
        }

    def _write_result(self, setup: TrainingModel, result: Result, out: Path) -> None:
        if result.rank_map is None or result.budget is None:
            write_merged(setup, out, self.config.ranks.policy)
            self._say(f"trained model written to {out}")
            return
        # Its name is looked for among all modules, so not once per tensor.
        prefix = f"{setup.model.projector_name}."
        projector = {
            name: value
            for name, value in setup.model.whole.state_dict().items()
            if name.startswith(prefix)
        }
        save_adapter(
            setup.model.whole,
            out,
            rank_map=result.rank_map,
            budget=result.budget,
            alpha_ref=self.config.ranks.alpha_ref,
            base=setup.base,
            extra_tensors={"projector.safetensors": projector},
            extra_files={PROCESSOR_FILE: dumps(setup.processor.to_dict(), indent=2) + "\n"},
            load_base=loading_code(self.config.base),
            trained_for=self.config.stage2.qat,
            compensate=self.config.ranks.compensate,
            pipeline_tag="image-text-to-text",
        )
        self._say(f"adapter written to {out}, read again with stock peft and compared")
