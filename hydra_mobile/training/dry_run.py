"""`train --dry-run`: what would happen, shown before hours are spent; writes nothing.

Takes one row as the loss sees it, parameter counts and a memory estimate, and takes one
optimizer step of stage II.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra_mobile.config import STAGE_TITLES, TrainConfig
from hydra_mobile.core.progress import SILENT, Log, Progress, silent
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.data.head import segments
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import train_step
from hydra_mobile.training.machine import peak_memory_bytes, separate_state
from hydra_mobile.training.metrics import STAGES
from hydra_mobile.training.run import TrainingRun

#: Rows that are looked through for one with an image.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class StagePlan:
    """How much one stage has to do."""

    conversations: int
    rows: int
    steps: int


@dataclass(frozen=True)
class DryRun:
    """What a run would do, and what one step of it took.

    Attributes:
        row: text of the first row, of those with an image where any has one, in segments; True
            where the loss learns it.
        parameters: of the whole model.
        trained_parameters: of these, in the language model.
        projector_parameters: and in the projector.
        stages: by name.
        memory: lines of the estimate of stage II's peak.
        loss: of the step.
        conversations: in the step.
        seconds: that it took.
        peak_bytes: measured so far.
        qat: preset whose rounding the step has seen, as the last ones of the run do; "": none.
    """

    row: tuple[tuple[str, bool], ...]
    parameters: int
    trained_parameters: int
    projector_parameters: int
    stages: dict[str, StagePlan]
    memory: tuple[str, ...]
    loss: float
    conversations: int
    seconds: float
    peak_bytes: int
    qat: str = ""

    def marked_row(self) -> str:
        """Return the row as plain text, with what the loss learns in [brackets]."""
        return "".join(f"[{text}]" if learned else text for text, learned in self.row)

    def lines(self) -> list[str]:
        """Return everything but the row."""
        seen = f" at {self.qat}, as the last steps" if self.qat else ""
        return [
            f"parameters: {self.parameters:,} in all; trained: {self.trained_parameters:,} in the "
            f"language model, {self.projector_parameters:,} projector",
            *(
                f"{STAGE_TITLES[name]}: {plan.conversations} conversations in {plan.rows} rows, "
                f"{plan.steps} steps"
                for name, plan in self.stages.items()
            ),
            "memory of stage II:",
            *(f"  {line}" for line in self.memory),
            f"one step of stage II{seen}: loss {self.loss:.3f}, "
            f"{self.conversations} conversations, {self.seconds:.1f} s, "
            f"{self.peak_bytes / 2**30:.2f} GiB peak measured. "
            "Nothing was written.",
        ]


def dry_run(config: TrainConfig, log: Log = silent, progress: Progress = SILENT) -> DryRun:
    """Return what a run would do, after one step of it.

    Raises:
        HydraError: whatever the run itself would refuse.
    """
    with working_folder("dry-run") as scratch, separate_state():
        config = replace(
            config,
            output=str(scratch / "run"),
            # The features of a whole data set are not needed to see one sample.
            runtime=replace(config.runtime, vision_cache=False),
        )
        run = TrainingRun(config, log, progress)
        setup = run.prepare()
        row = _shown(run.data.rows["stage2"])
        strategy = run.strategy(setup)
        strategy.start()
        stream = run.data.stream("stage2")
        trained = sum(p.numel() for p in strategy.parameters().values())
        optimizer = setup.optimizer("stage2", strategy.parameters())
        strategy.begin(optimizer)
        memory = run.estimate_memory(setup, optimizer.parameters())
        strategy.rehearse()
        setup.model.train()
        began = time.monotonic()
        result = train_step(
            strategy.wrapped,
            run.data.objective("stage2"),
            optimizer,
            stream,
            config.stage2,
            0,
            setup.processes,
        )
        return DryRun(
            row=_segments(row, setup.processor),
            parameters=sum(p.numel() for p in setup.model.parameters()),
            trained_parameters=trained,
            projector_parameters=sum(p.numel() for p in setup.projector_parameters().values()),
            stages={
                name: StagePlan(
                    int(rows.conversations.sum()), len(rows), run.data.stream(name).steps
                )
                for name, rows in run.data.rows.items()
                if name in STAGES
            },
            memory=tuple(memory.lines()),
            loss=result.loss,
            conversations=result.conversations,
            seconds=time.monotonic() - began,
            peak_bytes=peak_memory_bytes(setup.accelerator.device),
            qat=config.stage2.qat,
        )


def _shown(rows: Sequence[Row]) -> Row:
    """Return the row to show: where any has an image, one that shows what becomes of it."""
    return next((row for row in itertools.islice(rows, _LOOKED_AT) if row.images), rows[0])


def _segments(row: Row, processor: MobileVLMProcessor) -> tuple[tuple[str, bool], ...]:
    """Return the row's text in segments, with whether the loss learns each."""
    tokens = [(token, False) for token in row.prefix]
    for segment in row.segments:
        learned = (label != IGNORE_INDEX for label in segment.labels)
        tokens += zip(segment.ids, learned, strict=True)
    return segments(tokens, processor)
