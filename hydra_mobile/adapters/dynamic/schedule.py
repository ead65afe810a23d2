"""When a run's ranks may move: a warm-up, events, a freeze.

Our choice, as in AdaLoRA and ElaLoRA: ranks must not move before the adapters have learned
something, nor so late that a new row cannot learn any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from hydra_mobile.adapters.dynamic.settings import DynamicConfig


@dataclass(frozen=True)
class Schedule:
    """Steps are counted as done: an event at step t comes after the t-th optimizer step.

    Attributes:
        steps: optimizer steps of the run.
        events: steps of the rank events, rising.
        warmup_end: the step after which importance is known; the last step in a run so short that
            ranks could never be allocated.
    """

    steps: int
    events: tuple[int, ...]
    warmup_end: int

    @classmethod
    def of_run(cls, steps: int, timing: DynamicConfig) -> Schedule:
        """Return the schedule of a run of `steps` optimizer steps."""
        if timing.target != "trailing":
            return cls.of(steps, timing.warmup, timing.every, timing.until)
        end = max(1, round(timing.warmup * steps))
        found: list[int] = []
        for share in sorted(timing.events):
            step = max(1, round(share * steps))
            # Ranks that move in a short run, or shortly before the end, cannot pay any more.
            if steps >= timing.least_steps and steps - step >= timing.least_steps / 3:
                found.append(step)
        events = tuple(dict.fromkeys(step for step in found if step < steps))
        return cls(steps, events, min(end, steps))

    @classmethod
    def of(
        cls, steps: int, warmup: float = 0.10, every: float = 0.05, until: float = 0.70
    ) -> Schedule:
        """Return a schedule of events at even distances, the first at the end of the warm-up.

        Args:
            steps: optimizer steps of the run.
            warmup: share of the steps before the first event.
            every: share of the steps between events.
            until: share of the steps after which nothing moves.
        """
        found: list[int] = []
        number = 0
        # Half a millionth: shares such as 0.05 are not exact in binary.
        while (share := warmup + number * every) <= until + 5e-7:
            step = max(1, round(share * steps))
            if step < steps and step not in found:
                found.append(step)
            number += 1
        return cls(steps, tuple(found), found[0] if found else steps)

    @property
    def has_warmup(self) -> bool:
        """Whether importance can be known before the run ends."""
        return self.warmup_end < self.steps

    @property
    def freeze(self) -> int:
        """The last step at which ranks may move; 0 where they never do."""
        return self.events[-1] if self.events else 0

    def affordable(self, cost: float, share: float) -> int:
        """Return how many events can be probed within `share` of the run's steps.

        Args:
            cost: of one event's probes, in optimizer steps.
            share: of the run's steps.
        """
        return min(len(self.events), int((share * self.steps + 1e-9) / cost))
