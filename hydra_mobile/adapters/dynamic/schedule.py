"""When a run's ranks may move: a warm-up, events at even distances, a freeze.

Our choice, as in AdaLoRA and ElaLoRA: ranks must not move before the adapters have learned
something, nor so late that a new row cannot learn any more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Steps are counted as done: an event at step t comes after the t-th optimizer step.

    Attributes:
        steps: optimizer steps of the run.
        events: steps of the rank events, rising; the first one ends the warm-up.
    """

    steps: int
    events: tuple[int, ...]

    @classmethod
    def of(
        cls, steps: int, warmup: float = 0.10, every: float = 0.05, until: float = 0.70
    ) -> Schedule:
        """Return the schedule of a run.

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
        return cls(steps, tuple(found))

    @property
    def warmup_end(self) -> int:
        """The step after which importance is known; the last step where there is no event."""
        return self.events[0] if self.events else self.steps

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
