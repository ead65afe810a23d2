"""Waits until a phone is cool enough to be timed: a hot one holds its clocks back.

The policy is in this file and in the report: a thermal status of "none" or "light", and a battery
below a limit, or a time after which it is timed as it is, and said so. A device that tells neither
is not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.devices.facts import THERMAL, DeviceFacts, facts_of
from hydra_mobile.devices.remote import Remote

#: Battery temperature below which a phone is timed, degrees Celsius.
COOL_CELSIUS = 36.0
#: Longest wait, seconds.
LONGEST_SECONDS = 300.0
_POLL_SECONDS = 10.0


@dataclass(frozen=True)
class Cooled:
    """What came of the wait.

    Attributes:
        waited_seconds: how long it took.
        cool: whether the device was cool in the end; None where it does not tell.
        limit_celsius: the policy's limit.
    """

    waited_seconds: float
    cool: bool | None
    limit_celsius: float = COOL_CELSIUS

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def wait_until_cool(
    remote: Remote,
    say: Callable[[str], None] = lambda text: None,
    longest: float = LONGEST_SECONDS,
    poll: float = _POLL_SECONDS,
) -> Cooled:
    """Wait, at most `longest` seconds.

    Raises:
        DeviceGone: the connection broke.
    """
    began = time.monotonic()
    while True:
        facts = facts_of(remote)
        cool = is_cool(facts)
        waited = time.monotonic() - began
        if cool is not False or waited >= longest:
            return Cooled(round(waited, 1), cool)
        say(
            f"{facts.title} is warm (battery {facts.battery_celsius} C, thermal status "
            f"{facts.thermal_status}); waiting until it has cooled down"
        )
        time.sleep(min(poll, max(0.0, longest - waited)))


def is_cool(facts: DeviceFacts) -> bool | None:
    """Whether a device may be timed; None where it does not tell."""
    known = []
    if facts.battery_celsius is not None:
        known.append(facts.battery_celsius < COOL_CELSIUS)
    if facts.thermal_status is not None:
        known.append(THERMAL.index(facts.thermal_status) < THERMAL.index("moderate"))
    return all(known) if known else None
