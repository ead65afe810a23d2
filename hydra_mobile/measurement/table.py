"""Tables of a result of `bench`, and its ratios to an earlier one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

#: Key, title, factor for people, digits, whether more is better.
_COLUMNS = (
    ("encode", "encode ms", 1e3, 1, False),
    ("prefill", "prefill ms", 1e3, 1, False),
    ("first_token", "first token ms", 1e3, 1, False),
    ("prefill_rate", "prefill tok/s", 1.0, 1, True),
    ("decode_rate", "decode tok/s", 1.0, 1, True),
)


def values(row: dict[str, Any], key: str) -> list[float]:
    """Return every repeat of every process."""
    return [value for process in row["processes"] for value in process[key]]


def load(row: dict[str, Any], cold: bool) -> float | None:
    """Return the median seconds to load, cold or warm; None where that was not measured."""
    loads = [p["load_seconds"] for p in row["processes"] if p["cold"] is cold]
    return statistics.median(loads) if loads else None


def peak(row: dict[str, Any]) -> int:
    """Return the highest peak of its processes, bytes."""
    return max(int(process["peak_memory_bytes"]) for process in row["processes"])


def spread(numbers: list[float]) -> tuple[float, float, float]:
    """Return median and quartiles."""
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return middle, low, high


def rows_of(result: dict[str, Any]) -> list[list[str]]:
    """Return what was measured, line by line: a name, then a cell for each model."""
    rows = result["rows"]
    lines = [
        [title, *(_cell(values(row, key), factor, digits) for row in rows)]
        for key, title, factor, digits, _ in _COLUMNS
    ]
    for title, cold in (("load cold s", True), ("load warm s", False)):
        loads = [load(row, cold) for row in rows]
        lines.append([title, *("-" if s is None else f"{s:.2f}" for s in loads)])
    lines.append(["peak MB", *(f"{peak(row) / 1e6:.0f}" for row in rows)])
    lines.append(["size MB", *(f"{row['size_bytes'] / 1e6:.1f}" for row in rows)])
    return lines


def comparison(result: dict[str, Any], earlier: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each artifact that both results have, and what does not compare."""
    for what in differences(result, earlier):
        yield f"does not compare: {what}"
    before = {(row["runner"], row["preset"], row["name"]): row for row in earlier["rows"]}
    for row in result["rows"]:
        other = before.get((row["runner"], row["preset"], row["name"]))
        if other is None:
            yield f"{row['name']}: not in the earlier result"
            continue
        parts = []
        for key, title, _, _, more in _COLUMNS:
            now, then = spread(values(row, key)), spread(values(other, key))
            # Above one is better, whatever the column counts.
            ratio = now[0] / then[0] if more else then[0] / now[0]
            apart = now[1] > then[2] or now[2] < then[1]
            parts.append(
                f"{title.rsplit(' ', 1)[0]} {ratio:.2f}x{'' if apart else ' (within spread)'}"
            )
        parts.append(f"peak {peak(row) / peak(other):.2f}x")
        parts.append(f"size {row['size_bytes'] / other['size_bytes']:.2f}x")
        yield f"{row['name']}: {', '.join(parts)}"


def differences(result: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """Return what makes two results incomparable."""
    found = [
        f"{key} is {result['plan'][key]}, was {earlier['plan'].get(key)}"
        for key in ("prompt_tokens", "new_tokens", "threads")
        if result["plan"][key] != earlier["plan"].get(key)
    ]
    if result["device"] != earlier["device"]:
        found.append(f"device is {result['device']}, was {earlier['device']}")
    for key, value in result["environment"].items():
        was = earlier["environment"].get(key)
        if value != was and key in ("machine", "cpu", "processor", "system", "cores"):
            found.append(f"{key} is {value}, was {was}")
    return found


def _cell(numbers: list[float], factor: float, digits: int) -> str:
    middle, low, high = (factor * number for number in spread(numbers))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
