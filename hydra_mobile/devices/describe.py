"""What a report says of a device, in words, from the facts before and after it was timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def described(device: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each thing that is known.

    Args:
        device: `DeviceFacts` before and after as JSON values, and what came of the wait for a
            cool device, in the keys `before`, `after` and `cooling`.
    """
    before, after, cooling = device["before"], device["after"], device["cooling"]
    version = f"Android {before['android']} (API {before['api_level']})"
    system = version if before["android"] else before["system"]
    names = (before["model"], system, before["soc"], " ".join(before["abis"]))
    lines = [", ".join(name for name in names if name)]
    if before["memory_bytes"]:
        free = before["available_bytes"]
        free_part = f", {free / 1e9:.1f} GB of it available before" if free else ""
        lines.append(f"memory {before['memory_bytes'] / 1e9:.1f} GB{free_part}")
    if before["governors"]:
        lines.append(f"governor {', '.join(before['governors'])}")
    if before["battery_celsius"] is not None:
        lines.append(
            f"battery {before['battery_celsius']} C before, {after['battery_celsius']} after"
        )
    if before["thermal_status"]:
        lines.append(f"thermal status {before['thermal_status']}, then {after['thermal_status']}")
    limit = cooling["limit_celsius"]
    lines.append(
        {
            True: f"cool when it was timed (below {limit:.0f} C and not throttled; waited "
            f"{cooling['waited_seconds']:.0f} s)",
            False: f"WARM when it was timed, after waiting {cooling['waited_seconds']:.0f} s for "
            f"less than {limit:.0f} C",
            None: "it tells neither temperature nor throttling",
        }[cooling["cool"]]
    )
    return tuple(lines)
