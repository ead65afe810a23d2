"""Does something on a device again when the connection broke and came back.

Only for what may be done twice: each caller's work goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hydra_mobile.devices.errors import DeviceGone
from hydra_mobile.devices.remote import Remote

#: Seconds for which a device may stay away before its command gives up.
SECONDS = 600.0
#: A connection that breaks so often without any progress between is no connection.
MOST_LOSSES = 25

T = TypeVar("T")
Say = Callable[[str], None]


def with_reconnect(
    remote: Remote,
    work: Callable[[], T],
    say: Say = lambda text: None,
    *,
    seconds: float = SECONDS,
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """Return what `work` returns, doing it again after each break.

    Args:
        remote: the device.
        work: goes on where it was when it is called again.
        say: receives a line for each break and return.
        seconds: that the device may stay away.
        progress: a number that grows while the work gets on.

    Raises:
        DeviceGone: it stayed away longer, or breaks again and again without progress.
    """
    losses, reached = 0, progress()
    while True:
        try:
            return work()
        except DeviceGone as error:
            losses = losses + 1 if progress() == reached else 1
            reached = progress()
            if losses > MOST_LOSSES:
                raise
            say(f"{error.what} Waiting for the device.")
            remote.reconnect(seconds)
            say("The device is back.")
