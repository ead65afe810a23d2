"""Running out of memory, turned into advice: which settings to change, the cheapest first.

The trainer wraps its steps in `advising`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from hydra_mobile.core.errors import HydraError

# Failures that have no exception class of their own.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",  # Linux and macOS
    "DefaultCPUAllocator: not enough memory",  # Windows
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
# torch on a GPU and numpy name a size with its unit, torch on a CPU counts bytes.
_ASKED = re.compile(r"allocate ([\d.]+ ?[KMGTPE]?i?B|\d+ bytes)")


@dataclass(frozen=True)
class StepFacts:
    """The step that was running, and what already saves memory.

    Attributes:
        stage: "stage1" or "stage2".
        rows: rows of the micro-batch.
        tokens: tokens of its longest row; every row is padded to it.
        batch_size: `<stage>.batch_size`.
        accumulation: `<stage>.accumulation`.
        questions_per_row: `data.questions_per_row`, or 1 where rows share no prefix.
        max_length: `data.max_length`.
        gradient_checkpointing: `runtime.gradient_checkpointing`.
        four_bit: whether `runtime.base_precision` is 4bit already.
    """

    stage: str
    rows: int
    tokens: int
    batch_size: int
    accumulation: int
    questions_per_row: int
    max_length: int
    gradient_checkpointing: bool
    four_bit: bool


@contextlib.contextmanager
def advising(facts_of: Callable[[], StepFacts]) -> Iterator[None]:
    """Turn running out of memory inside the block into advice; other exceptions pass.

    Args:
        facts_of: tells about the step; asked only when memory ran out.

    Raises:
        HydraError: an allocation failed; says the shape of the step, what was asked for and the
            settings to change.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        facts = facts_of()
        raise HydraError(_what(facts, str(error)), advice(facts)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(m in str(error) for m in _MESSAGES)


def advice(facts: StepFacts) -> str:
    """Return the settings that save memory and are not set yet, in the order of their cost."""
    settings: list[str] = []
    if not facts.gradient_checkpointing:
        settings.append(
            "runtime.gradient_checkpointing=true (the same result, steps about a third slower)"
        )
    # A batch has at least one row, however small it is.
    if facts.rows > 1 and facts.batch_size > 1:
        half = facts.batch_size // 2
        together = facts.batch_size * facts.accumulation
        times = -(-together // half)
        same = "as many" if half * times == together else "about as many"
        settings.append(
            f"{facts.stage}.batch_size={half} {facts.stage}.accumulation={times} "
            f"({same} conversations per optimizer step)"
        )
    if facts.questions_per_row > 1:
        settings.append(
            f"data.questions_per_row={facts.questions_per_row // 2} (shorter rows; images are "
            "computed more often)"
        )
    if facts.tokens < facts.max_length:
        settings.append(
            f"data.max_length below {facts.tokens} (conversations that are longer are refused by "
            "name, for you to shorten)"
        )
    else:
        settings.append(f"data.max_length={facts.max_length // 2} (refuses longer conversations)")
    if not facts.four_bit:
        settings.append("runtime.base_precision=4bit (a quarter of the weights' memory, inexact)")
    ways = "; ".join(f"{number}. {text}" for number, text in enumerate(settings, 1))
    # A run resumes only with its own settings.
    return f"Change one of these and start again in another folder (output=...): {ways}."


def _what(facts: StepFacts, message: str) -> str:
    shape = f"{facts.rows} rows x {facts.tokens} tokens"
    return f"Memory ran out in {facts.stage} at a step of {shape}{_asked(message)}."


def _asked(message: str) -> str:
    """Return what the failed allocation asked for, as far as the message says."""
    found = _ASKED.search(message)
    if not found:
        return ""
    number, _, unit = found[1].partition(" ")
    size = f"{int(number) / 2**30:,.2f} GiB" if unit == "bytes" else found[1]
    return f": {size} more were asked for"
