"""Markdown tables of `inference_speed.json`: a pure function of the JSON.

    python -m experiments.inference_speed.table [FILE]

Each figure is the median over rounds, and [lower, upper quartile] where that fits; a round's value
is the median of its repeats. Ratios are taken round by round, then their median.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.shared.markdown import table

_RESULT = Path(__file__).with_name("result.json")
_REFERENCE, _PEER = "torch-fp32", "llama.cpp"
Row = Mapping[str, Any]


def rate(row: Row, phase: str, length: int, tokens: int) -> float:
    """Return tokens per second of one process: `tokens` over the median of its repeats."""
    return tokens / statistics.median(row["seconds"][f"{phase} {length}"])


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile; one value is all three."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(
    value: Mapping[str, Any], ours: str, theirs: str, threads: int, get: Callable[[Row], float]
) -> list[float]:
    """Return ours over theirs, one for each round that has both."""
    rounds: dict[int, dict[str, float]] = {}
    for row in value["rows"]:
        if row["threads"] == threads:
            rounds.setdefault(row["round"], {})[row["form"]] = get(row)
    return [r[ours] / r[theirs] for r in rounds.values() if ours in r and theirs in r]


def ratio(
    value: Mapping[str, Any], ours: str, theirs: str, threads: int, get: Callable[[Row], float]
) -> float | None:
    """Return the median of ours over theirs in the rounds that have both; None: there are none."""
    pairs = ratios(value, ours, theirs, threads, get)
    return statistics.median(pairs) if pairs else None


def peer_of(value: Mapping[str, Any], form: str) -> str | None:
    """Return the form of llama.cpp with as many bits; None where it was not measured."""
    bits = value["forms"][form]["bits"]
    for name, facts in value["forms"].items():
        if facts["engine"] == _PEER and facts["bits"] == bits:
            return str(name)
    return None


def render(value: Mapping[str, Any]) -> str:
    """Return all tables of a result."""
    parts = [_sizes(value)]
    protocol = value["protocol"]
    for threads in protocol["threads"]:
        parts += [_speeds(value, threads, length) for length in protocol["prompts"]]
        parts.append(_pictures(value, threads))
    if value["skipped"]:
        lines = [f"- {name}: {reason}" for name, reason in value["skipped"].items()]
        parts.append("Not measured:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(part for part in parts if part)


def _sizes(value: Mapping[str, Any]) -> str:
    titles = ["form", "file MB", "bits/weight", "load s", "peak RSS MB", "of it model"]
    titles += ["greedy equal", "cosine", "max. difference", "note"]
    lines = []
    most = max(value["protocol"]["threads"])
    for name, facts in value["forms"].items():
        rows = [r for r in value["rows"] if r["form"] == name and r["threads"] == most]
        check = facts["check"]
        lines.append(
            [
                name,
                f"{facts['files_bytes'] / 1e6:.1f}",
                f"{facts['bits_per_weight']:.2f}",
                _median([r["seconds"]["load"][0] for r in rows], ".2f"),
                _median([r["peak_bytes"] / 1e6 for r in rows], ".0f"),
                _median([(r["peak_bytes"] - r["imports_bytes"]) / 1e6 for r in rows], ".0f"),
                f"{check['equal_tokens']}/{check['of_tokens']}" if check else "reference",
                f"{check['cosine']:.4f}" if check else "",
                f"{check['max_difference']:.2g} of {check['largest_logit']:.0f}" if check else "",
                facts["note"],
            ]
        )
    return "Files, memory, outputs\n\n" + table(titles, lines)


def _speeds(value: Mapping[str, Any], threads: int, length: int) -> str:
    new = value["protocol"]["new_tokens"]
    titles = ["form", "prefill tok/s", "of eager", "of llama.cpp", "decode tok/s", "of eager"]
    titles += ["of llama.cpp", "first token ms", "rounds"]
    lines = []
    for name in value["forms"]:
        rows = [r for r in value["rows"] if r["form"] == name and r["threads"] == threads]
        if not rows:
            continue
        cells = [name]
        peer = peer_of(value, name)
        for phase, tokens in (("prefill", length), ("decode", new)):

            def get(row: Row, phase: str = phase, tokens: int = tokens) -> float:
                return rate(row, phase, length, tokens)

            low, middle, high = spread([get(row) for row in rows])
            cells.append(f"{middle:.0f} [{low:.0f}, {high:.0f}]")
            cells.append(_times(ratio(value, name, _REFERENCE, threads, get)))
            cells.append(_times(ratio(value, name, peer, threads, get) if peer else None))
        reading = [statistics.median(r["seconds"][f"prefill {length}"]) for r in rows]
        lines.append([*cells, f"{1e3 * statistics.median(reading):.0f}", str(len(rows))])
    head = f"Prompt of {length} tokens, {new} new tokens, {threads} thread{'s'[: threads - 1]}"
    return f"{head}\n\n{table(titles, lines)}"


def _pictures(value: Mapping[str, Any], threads: int) -> str:
    titles = ["form", "encode ms", "first token ms, with picture", "of eager"]
    shortest = min(value["protocol"]["prompts"])
    lines = []

    def first(row: Row) -> float:
        return 1 / statistics.median(row["seconds"]["first token"]) if _sees(row) else float("nan")

    for name in value["forms"]:
        rows = [r for r in value["rows"] if r["form"] == name and r["threads"] == threads]
        rows = [row for row in rows if _sees(row)]
        if rows:
            encode = spread([1e3 * statistics.median(r["seconds"]["encode"]) for r in rows])
            whole = spread([1e3 * statistics.median(r["seconds"]["first token"]) for r in rows])
            cells = [f"{m:.1f} [{low:.1f}, {high:.1f}]" for low, m, high in (encode, whole)]
            lines.append([name, *cells, _times(ratio(value, name, _REFERENCE, threads, first))])
    head = f"With a picture: {shortest} tokens in all, {threads} thread{'s'[: threads - 1]}"
    return f"{head}\n\n{table(titles, lines)}" if lines else ""


def _sees(row: Row) -> bool:
    return "encode" in row["seconds"]


def _median(values: Sequence[float], form: str) -> str:
    return format(statistics.median(values), form) if values else ""


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def render_operators(value: Mapping[str, Any], most: int = 12) -> str:
    """Return a table for each profiled form: the slowest operators of each phase."""
    parts = []
    for name, found in value["forms"].items():
        for phase in ("prefill", "decode"):
            rows = [row for row in found["operators"] if row["phase"] == phase]
            total = sum(row["ms"] for row in rows)
            lines = [
                [row["operator"], f"{row['ms']:.3f}", f"{row['share']:.1%}", str(row["calls"])]
                for row in rows[:most]
            ]
            tokens = f", {found['tokens']} tokens" if phase == "prefill" else ", one token"
            head = f"{name}, {phase}{tokens}: {total:.2f} ms in operators"
            parts.append(f"{head}\n\n{table(['operator', 'ms', 'share', 'calls'], lines)}")
    parts += [f"- {name}: {reason}" for name, reason in value["skipped"].items()]
    return "\n".join(parts)


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else _RESULT
    print(render(json.loads(file.read_text(encoding="utf-8"))))
