"""What a report says of the training: losses, parameters, stages, and where ranks went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hydra_mobile.reporting.evidence import TrainingAnswer


class LossPoint(NamedTuple):
    """One point of the loss curve; `step` counts inside its stage."""

    stage: str
    step: int
    loss: float


@dataclass(frozen=True)
class ParameterCounts:
    """Trainable parameters, counted from live tensors.

    Attributes:
        lora: of the adapters.
        budget: of uniform LoRA at the reference rank, which `lora` must not exceed.
        projector: of the projector.
    """

    lora: int
    budget: int
    projector: int


@dataclass(frozen=True)
class StageFacts:
    """One stage of the training: its length and speed."""

    name: str
    steps: int
    seconds: float | None = None
    samples_per_second: float | None = None


@dataclass(frozen=True)
class RankEventFacts:
    """One event of the rank history.

    Attributes:
        step: optimizer steps of its stage done when it happened.
        kind: "initial", "allocate", "move", "abstain", "observe", "freeze", "resized".
        reason: a sentence.
        moved: what changed, e.g. "high/q_proj → low/down_proj, 12 modules".
        ranks: module name to rank from here on, of the modules that changed; of all modules in
            the first event that sets ranks. Rank 0 is written out.
        parameters: LoRA parameters after the event.
        reference: what they must not exceed.
        predicted_gain: of a move, in nats of held-out loss, positive when it helps.
        realised_gain: the same, measured; of a move once a probe has compared it.
        probe_steps: training steps that the probe took.
        probe_seconds: time that it took.
    """

    step: int
    kind: str
    reason: str = ""
    moved: str = ""
    ranks: dict[str, int] = field(default_factory=dict)
    parameters: int | None = None
    reference: int | None = None
    predicted_gain: float | None = None
    realised_gain: float | None = None
    probe_steps: int | None = None
    probe_seconds: float | None = None


@dataclass(frozen=True)
class RankHistorySection:
    """How the ranks moved.

    Attributes:
        steps: steps of the stage that trains the adapters, so far.
        events: in the order they happened.
    """

    steps: int
    events: tuple[RankEventFacts, ...] = ()


@dataclass(frozen=True)
class TrainingSection:
    """How the adapters came to be.

    Attributes:
        base: name of the base model.
        policy: name of the rank policy.
        r_ref: rank of the uniform LoRA that sets the budget.
        rank_map: fully qualified module name to rank; rank 0 may be present or absent.
        rank_history: None when it was not recorded.
        held_out: held-out losses; empty without a validation split.
        answers: to held-out questions, at the first and the last validation.
    """

    base: str
    policy: str
    r_ref: int
    parameters: ParameterCounts
    stages: tuple[StageFacts, ...] = ()
    peak_memory_bytes: int | None = None
    loss: tuple[LossPoint, ...] = ()
    rank_map: dict[str, int] = field(default_factory=dict)
    rank_history: RankHistorySection | None = None
    held_out: tuple[LossPoint, ...] = ()
    answers: tuple[TrainingAnswer, ...] = ()
