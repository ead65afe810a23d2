"""A training run from data to adapter, in stages, each of which can be killed and gone on with.

The order is fixed: vision features, alignment and captions (stage I, projector), importance and
rank map, conversations (stage II, adapters and projector), adapter. What is not in the last
checkpoint is a function of what is, so that a resumed run ends bit for bit where an uninterrupted
one would (one process, fp32, same machine).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.portable import save_adapter
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import StageConfig, TrainConfig
from hydra_mobile.data.llava import Record, read_llava
from hydra_mobile.errors import ArtefactError, ConfigError, HydraError
from hydra_mobile.files import read_json, sha256_of, write_atomically, write_json
from hydra_mobile.progress import StageProgress, duration
from hydra_mobile.training import ranks as rank_choice
from hydra_mobile.training.align import alignment_loss, caption_vectors
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.features import VisionFeatures
from hydra_mobile.training.loop import BatchStream, Objective, train_step
from hydra_mobile.training.machine import peak_memory_bytes
from hydra_mobile.training.metrics import STAGES, MetricsFile
from hydra_mobile.training.optimizer import learning_rate_factor
from hydra_mobile.training.rows import Row, build_rows
from hydra_mobile.training.session import Session

# Pictures per step of the contrastive alignment: more negatives cost next to nothing.
_ALIGN_BATCH = 128


@dataclass
class _Place:
    """Where the run is, and what it spent to get there."""

    stage: str = "align"
    step: int = 0
    rank_map: RankMap | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    conversations: dict[str, int] = field(default_factory=dict)

    def reached(self, stage: str) -> int:
        """Return steps done in `stage`: 0 if it lies ahead, -1 if it is over."""
        here, there = STAGES.index(self.stage), STAGES.index(stage)
        return self.step if here == there else 0 if here < there else -1


class TrainingRun:
    """One run folder: config.yaml, metrics.jsonl, rank_map.json, checkpoints/, adapter/."""

    def __init__(self, config: TrainConfig, console: Console) -> None:
        self.config = config
        self.console = console
        self.folder = Path(config.output)
        self.metrics = MetricsFile(self.folder / "metrics.jsonl")
        self._place = _Place()

    # -- the whole ------------------------------------------------------------------------------

    def train(self, resume: bool = False) -> Path:
        """Train, or go on; return the adapter folder.

        Raises:
            HydraError: the run folder is in use, was made with another configuration or data, or
                something is wrong with data, base or disk.
        """
        records = self._read_data()
        self._open_folder(resume)
        if (self.folder / "adapter").exists():
            self._say(f"{self.folder} is complete; nothing to do.")
            return self.folder / "adapter"
        session = self._session(records)
        checkpoint = self._checkpoint() if resume else None
        budget: Budget | None = None
        if checkpoint:
            budget = self._restore(session, checkpoint)
        else:
            self.metrics.keep_until(STAGES[0], 0)
        if self.config.data.stage1:
            self._stage1(session, checkpoint)
        if budget is None:
            budget = self.choose_ranks(session)
        self._stage2(session, checkpoint)
        return self._finish(session, budget)

    def session(self) -> Session:
        """Read the data and make the model ready, without touching the run folder."""
        return self._session(self._read_data())

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    # -- data and model -------------------------------------------------------------------------

    def _read_data(self) -> dict[str, list[Record]]:
        data = self.config.data
        if not data.stage2:
            raise ConfigError(
                "`data.stage2` is empty.", "Name a LLaVA json, for example data.stage2=train.json"
            )
        images = Path(data.images) if data.images else None
        paths = {"stage1": data.stage1, "stage2": data.stage2}
        return {name: read_llava(Path(p), images) for name, p in paths.items() if p}

    def _session(self, records: dict[str, list[Record]]) -> Session:
        session = Session(self.config, self._say)
        self._features = VisionFeatures(
            session.model, session.processor, self.config.runtime.vision_cache
        )
        pictures = dict.fromkeys(
            record.image for part in records.values() for record in part if record.image
        )
        began = time.monotonic()
        with StageProgress(self.console, "vision features", len(pictures), 0, "pictures") as bar:
            last = 0

            def advance(done: int, total: int) -> None:
                nonlocal last
                bar.advance(done, done - last, "", peak_memory_bytes(session.accelerator.device))
                last = done

            self._features.prepare(list(pictures), advance)
        self._place.seconds["features"] = time.monotonic() - began
        self.objective = Objective(session.accelerator, self._features)
        self._records = records
        self.rows = {name: self._build_rows(session, part) for name, part in records.items()}
        return session

    def _build_rows(self, session: Session, records: list[Record]) -> list[Row]:
        data = self.config.data
        return build_rows(
            records,
            session.processor,
            share_prefix=data.share_prefix,
            questions_per_row=data.questions_per_row,
            max_length=data.max_length,
        )

    # -- the run folder -------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """Return what must not change between a run and its resumption."""
        config = self.config.to_dict()
        for key in ("log_every", "checkpoint_every"):
            del config["runtime"][key]
        del config["output"]
        data = self.config.data
        files = {n: sha256_of(Path(p)) for n in ("stage1", "stage2") if (p := getattr(data, n))}
        return {"config": config, "data": files}

    def _open_folder(self, resume: bool) -> None:
        record = self.folder / "run.json"
        identity = self._identity()
        if not record.exists():
            if resume:
                raise ArtefactError(
                    f"{self.folder} holds no run to resume.", "Leave --resume out to start one."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self.config.to_dict(), sort_keys=False)
            with write_atomically(self.folder / "config.yaml") as temporary:
                temporary.write_text(text)
            write_json(record, identity)
            return
        if not resume:
            raise HydraError(
                f"{self.folder} already holds a run.",
                "Go on with --resume, or choose another folder with output=...",
            )
        changed = _differences(read_json(record, "the identity of a run"), identity)
        if changed:
            raise ConfigError(
                f"{self.folder} was started with other settings: {'; '.join(changed[:5])}.",
                "Resume with the settings of its config.yaml, or start another run.",
            )

    def _checkpoint(self) -> Checkpoint | None:
        folder = self.folder / "checkpoints"
        # Names sort in the order of training; those with a dot were being written.
        whole = sorted(p for p in folder.glob("*") if not p.name.startswith("."))
        return Checkpoint.read(whole[-1]) if whole else None

    def _restore(self, session: Session, checkpoint: Checkpoint) -> Budget | None:
        facts = checkpoint.facts
        rank_map = RankMap(facts["rank_map"]) if facts["rank_map"] else None
        self._place = _Place(
            checkpoint.stage,
            checkpoint.step,
            rank_map,
            dict(facts["seconds"]),
            dict(facts["conversations"]),
        )
        budget = None
        if rank_map is not None:
            budget = Budget.of(
                session.model, rank_choice.adapted_modules(session.model), self.config.ranks.r_ref
            )
            budget.check(rank_map)
            session.inject(rank_map)
            budget.check_live(session.model)
        session.load_trained(checkpoint.trained)
        checkpoint.restore_random_state()
        self.metrics.keep_until(checkpoint.stage, checkpoint.step)
        self._say(f"resumed at {checkpoint.stage}, step {checkpoint.step}")
        return budget

    def _save(self, session: Session, moments: dict[str, torch.Tensor]) -> None:
        place = self._place
        name = f"{STAGES.index(place.stage)}-{place.stage}-{place.step:07d}"
        folder = self.folder / "checkpoints"
        Checkpoint(
            place.stage,
            place.step,
            session.trained(),
            moments,
            {
                "rank_map": dict(place.rank_map) if place.rank_map else None,
                "seconds": place.seconds,
                "conversations": place.conversations,
            },
            torch.get_rng_state(),
        ).write(folder / name)
        # The older one goes only now: at every instant one checkpoint is whole.
        for other in folder.iterdir():
            if other.name != name:
                shutil.rmtree(other)

    # -- stages ---------------------------------------------------------------------------------

    def _stage1(self, session: Session, checkpoint: Checkpoint | None) -> None:
        if self.config.stage1.align_steps and self._place.reached("align") == 0:
            self._align(session)
        self._stage(session, "stage1", self.config.stage1, checkpoint)

    def _align(self, session: Session) -> None:
        steps = self.config.stage1.align_steps
        captioned = [r for r in self._records["stage1"] if r.image is not None]
        answers = [record.turns[0].answer for record in captioned]
        # With a space, as words stand inside a question: byte-level BPE has other tokens for those.
        captions = [session.processor.text_ids(f" {answer}") for answer in answers]
        table = session.model.get_input_embeddings().weight.detach()  # type: ignore[operator]
        targets = caption_vectors(table, captions)
        token_rms = float(table.float().pow(2).mean().sqrt())
        numbers = {answer: i for i, answer in enumerate(dict.fromkeys(answers))}
        label = torch.tensor([numbers[answer] for answer in answers])
        optimizer = session.optimizer("stage1")
        device = session.accelerator.device
        began = time.monotonic()
        with StageProgress(self.console, "align", steps, 0, "pictures") as bar:
            for step in range(steps):
                chosen = torch.randint(
                    len(captioned),
                    (min(_ALIGN_BATCH, len(captioned)),),
                    generator=torch.Generator().manual_seed(self.config.seed * 100_003 + step),
                )
                features = self._features.batch([captioned[int(i)].image for i in chosen])
                with session.accelerator.autocast():
                    embeddings = session.model.project(features.to(device))
                same = label[chosen].unsqueeze(0) == label[chosen].unsqueeze(1)
                loss = alignment_loss(
                    embeddings, targets[chosen].to(device), same.to(device), token_rms
                )
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step(learning_rate_factor(step, steps, self.config.stage1.warmup))
                value = float(loss.detach())
                self._log("align", step + 1, steps, loss=value)
                bar.advance(step + 1, len(chosen), f"loss {value:.3f}", peak_memory_bytes(device))
        self._place.seconds["align"] = time.monotonic() - began
        self._place.stage, self._place.step = "align", steps
        self._save(session, {})

    def _stage(
        self,
        session: Session,
        name: str,
        config: StageConfig,
        checkpoint: Checkpoint | None,
    ) -> None:
        start = self._place.reached(name)
        stream = BatchStream(self.rows[name], config, self.config.seed)
        if start < 0 or start >= stream.steps:
            return
        optimizer = session.optimizer(name)
        if start and checkpoint:
            optimizer.load(checkpoint.moments)
        runtime, device = self.config.runtime, session.accelerator.device
        spent = self._place.seconds.get(name, 0.0)
        seen = self._place.conversations.get(name, 0)
        began = time.monotonic()
        session.model.train()
        with StageProgress(self.console, name, stream.steps, start, "questions") as bar:
            for step in range(start, stream.steps):
                result = train_step(session.model, self.objective, optimizer, stream, config, step)
                seen += result.conversations
                self._place.stage, self._place.step = name, step + 1
                self._place.seconds[name] = spent + time.monotonic() - began
                self._place.conversations[name] = seen
                bar.advance(
                    step + 1,
                    result.conversations,
                    f"loss {result.loss:.3f}",
                    peak_memory_bytes(device),
                )
                self._log(
                    name,
                    step + 1,
                    stream.steps,
                    loss=result.loss,
                    gradient_norm=result.gradient_norm,
                    learning_rate=config.learning_rate * result.learning_rate_factor,
                    conversations=seen,
                    seconds=round(self._place.seconds[name], 3),
                    peak_memory_bytes=peak_memory_bytes(device),
                )
                every = runtime.checkpoint_every
                if step + 1 == stream.steps or (every and (step + 1) % every == 0):
                    self._save(session, optimizer.state())
        session.model.eval()

    def _stage2(self, session: Session, checkpoint: Checkpoint | None) -> None:
        self._stage(session, "stage2", self.config.stage2, checkpoint)

    def _log(self, stage: str, step: int, steps: int, **values: Any) -> None:
        if step in (1, steps) or step % self.config.runtime.log_every == 0:
            self.metrics.append(stage, step, **values)

    # -- ranks and adapter ----------------------------------------------------------------------

    def choose_ranks(self, session: Session) -> Budget:
        """Measure importance, choose the map, put the adapters in; return the budget."""
        ranks = self.config.ranks
        stream = BatchStream(self.rows["stage2"], self.config.stage2, self.config.seed)

        def calibration() -> Iterator[list[Row]]:
            for index in range(ranks.calibration_batches):
                yield next(stream.step_rows(index))

        began = time.monotonic()
        budget, rank_map, importance = rank_choice.choose_ranks(
            session.model, ranks, self.config.seed, calibration(), self.objective
        )
        self._place.seconds["ranks"] = time.monotonic() - began
        session.inject(rank_map)
        live = budget.check_live(session.model)
        self._place.rank_map = rank_map
        rank_map.write(self.folder / "rank_map.json")
        if importance:
            write_json(self.folder / "importance.json", vars(importance))
        event = {
            "step": 0,
            "event": "initial",
            "policy": ranks.policy,
            "parameters": live,
            "reference": budget.reference,
            "digest": rank_map.digest(),
        }
        with write_atomically(self.folder / "ranks.jsonl") as temporary:
            temporary.write_text(json.dumps(event) + "\n")
        low, high = min(rank_map.values()), max(rank_map.values())
        self._say(
            f"ranks: policy {ranks.policy}, {low} to {high}; {live:,} LoRA parameters of "
            f"{budget.reference:,} that uniform r={ranks.r_ref} has "
            f"({duration(self._place.seconds['ranks'])} to measure)"
        )
        return budget

    def _finish(self, session: Session, budget: Budget) -> Path:
        rank_map, ranks = self._place.rank_map, self.config.ranks
        if rank_map is None:
            raise RuntimeError("a run cannot finish without a rank map")
        live = budget.check_live(session.model)
        projector = {
            name: value
            for name, value in session.model.state_dict().items()
            if name.startswith("projector.")
        }
        write_json(
            self.folder / "summary.json",
            {
                "base": session.base.name,
                "base_sha256": session.base.sha256,
                "policy": ranks.policy,
                "r_ref": ranks.r_ref,
                "precision": session.precision,
                "device": str(session.accelerator.device),
                "parameters": {
                    "lora": live,
                    "budget": budget.reference,
                    "projector": sum(p.numel() for p in session.projector_parameters().values()),
                },
                "steps": {n: m["step"] for m in self.metrics.read() if (n := m["stage"])},
                "seconds": self._place.seconds,
                "conversations": self._place.conversations,
                "peak_memory_bytes": peak_memory_bytes(session.accelerator.device),
            },
        )
        adapter = self.folder / "adapter"
        save_adapter(
            session.model,
            adapter,
            rank_map=rank_map,
            budget=budget,
            alpha_ref=ranks.alpha_ref,
            base=session.base,
            extra_tensors={"projector.safetensors": projector},
        )
        self._say(f"adapter written to {adapter}, read again with stock peft and compared")
        return adapter


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return "key: old -> new" for every leaf in which two nested dictionaries differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted(set(old) | set(new)):
            found += _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if old == new else [f"{path.removeprefix('config.')}: {old!r} -> {new!r}"]
