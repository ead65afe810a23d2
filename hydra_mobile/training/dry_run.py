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
from hydra_mobile.data.templates import IGNORE_INDEX
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.batches import collate
from hydra_mobile.training.loop import train_step
from hydra_mobile.training.machine import peak_memory_bytes
from hydra_mobile.training.methods import Method
from hydra_mobile.training.rows import Row
from hydra_mobile.training.run import TrainingRun
from hydra_mobile.training.session import Session


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
        row = run.rows["stage2"][0]
        console.print("\nFirst row as the loss sees it (marked: learned):")
        console.print(_marked(row, session.processor))
        method = run.method(session)
        method.start()
        stream = run.stream(session, "stage2")
        _counts(console, session, method)
        for name, rows in run.rows.items():
            steps = run.stream(session, name).steps
            conversations = sum(len(r.segments) for r in rows)
            console.print(
                f"{name}: {conversations} conversations in {len(rows)} rows, {steps} steps"
            )
        _memory(console, session, method, next(stream.step_rows(0)))
        session.model.train()
        optimizer = session.optimizer("stage2", method.parameters())
        method.begin(optimizer)
        began = time.monotonic()
        result = train_step(
            method.wrapped,
            run.objective,
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


def _memory(console: Console, session: Session, method: Method, rows: list[Row]) -> None:
    """Print weights, gradients, moments and a rough figure for activations of one micro-batch."""
    weights = sum(p.numel() * p.element_size() for p in session.model.parameters())
    trained = sum(
        p.numel() * 4 for p in (session.projector_parameters() | method.parameters()).values()
    )
    text = session.model.config.text_config
    size = 2 if session.precision == "bf16" else 4
    tokens = collate(rows).input_ids.numel()
    # Inputs that the backward pass keeps, per token and layer: norms and attention (about ten of
    # the hidden size) and the gated MLP (about four of its width).
    per_token = size * (10 * text.hidden_size + 4 * text.intermediate_size)
    layers = 1 if session.config.runtime.gradient_checkpointing else text.num_hidden_layers
    activations = tokens * per_token * layers
    console.print(
        f"memory, estimated: weights {weights / 2**20:,.0f} MiB, gradients and moments "
        f"{3 * trained / 2**20:,.0f} MiB, activations about {activations / 2**20:,.0f} MiB for "
        f"{tokens} tokens"
    )
