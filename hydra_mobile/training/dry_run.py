"""`train --dry-run`: what would happen, shown before hours are spent; writes nothing.

Shows the first sample as the loss sees it, ranks, parameter counts and a memory estimate, and
takes one optimizer step of stage II.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hydra_mobile.config import TrainConfig
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.data.packing import Row
from hydra_mobile.training.loop import train_step
from hydra_mobile.training.machine import peak_memory_bytes
from hydra_mobile.training.run import TrainingRun
from hydra_mobile.training.setup import Session
from hydra_mobile.training.strategies import Method


def dry_run(config: TrainConfig, console: Console) -> None:
    """Print what a run would do and take one step.

    Raises:
        HydraError: whatever the run itself would refuse.
    """
    with tempfile.TemporaryDirectory() as scratch:
        config = replace(
            config,
            output=str(Path(scratch) / "run"),
            # The features of a whole data set are not needed to see one sample.
            runtime=replace(config.runtime, vision_cache=False),
        )
        run = TrainingRun(config, console)
        session = run.session()
        row = run.data.rows["stage2"][0]
        console.print("\nFirst row as the loss sees it (marked: learned):")
        console.print(_marked(row, session.processor))
        method = run.method(session)
        method.start()
        stream = run.data.stream("stage2")
        _counts(console, session, method)
        for name, rows in run.data.rows.items():
            steps = run.data.stream(name).steps
            conversations = int(rows.conversations.sum())
            console.print(
                f"{name}: {conversations} conversations in {len(rows)} rows, {steps} steps"
            )
        optimizer = session.optimizer("stage2", method.parameters())
        method.begin(optimizer)
        console.print("memory of stage II:")
        for line in run.estimate_memory(session, optimizer.parameters()).lines():
            console.print(f"  {line}")
        session.model.train()
        began = time.monotonic()
        result = train_step(
            method.wrapped,
            run.data.objective("stage2"),
            optimizer,
            stream,
            config.stage2,
            0,
            session.processes,
        )
        seconds = time.monotonic() - began
        console.print(
            f"one step of stage II: loss {result.loss:.3f}, {result.conversations} conversations, "
            f"{seconds:.1f} s, {peak_memory_bytes(session.accelerator.device) / 2**30:.2f} GiB "
            "peak measured. Nothing was written."
        )


def _marked(row: Row, processor: MobileVLMProcessor) -> Text:
    """Return the row's text; what the loss learns is green and, for a pipe, in [brackets]."""
    tokens = [(token, False) for token in row.prefix]
    for segment in row.segments:
        learned = (label != IGNORE_INDEX for label in segment.labels)
        tokens += zip(segment.ids, learned, strict=True)
    text = Text()
    for learned, group in itertools.groupby(tokens, key=lambda pair: pair[1]):
        ids = [token for token, _ in group]
        piece = processor.tokenizer.decode(ids, skip_special_tokens=False)
        image = processor.tokenizer.decode([processor.image_token_id], skip_special_tokens=False)
        count = ids.count(processor.image_token_id)
        piece = piece.replace(image * count, f"<image x {count}>") if count else piece
        text.append(f"[{piece}]" if learned else piece, style="bold green" if learned else "dim")
    return text


def _counts(console: Console, session: Session, method: Method) -> None:
    adapters = sum(p.numel() for p in method.parameters().values())
    projector = sum(p.numel() for p in session.projector_parameters().values())
    total = sum(p.numel() for p in session.model.parameters())
    console.print(
        f"parameters: {total:,} in all; trained: {adapters:,} in the language model, "
        f"{projector:,} projector"
    )
