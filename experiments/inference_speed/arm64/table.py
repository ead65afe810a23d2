"""The tables of `arm64_instructions.json`: pure functions of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import table

Result = Mapping[str, Any]
Row = Mapping[str, Any]


def per_unit(row: Row, protocol: Mapping[str, Any], kind: str = "all") -> dict[str, float]:
    """Return instructions per token or picture, by what is measured.

    Differences take out what a question costs beside: a decoded token is what an answer of many
    tokens executes beyond one of a single token; a picture is what its pixels' prompt executes
    beyond as many tokens of text, and its file what reading that executes beyond the pixels.

    Args:
        row: of one process, with the counts of each question under `counts`.
        protocol: of the experiment.
        kind: "all", "dot" or "matrix".
    """
    counts = {name: value[kind] for name, value in row["counts"].items()}
    found = {}
    for length in protocol["prompts"]:
        read, decoded = counts[f"prefill {length}"], counts[f"decode {length}"]
        found[f"prefill {length}"] = read / length
        found[f"decode {length}"] = (decoded - read) / protocol["new_tokens"]
    if "pixels" in counts:
        found["picture"] = counts["pixels"] - counts[f"prefill {min(protocol['prompts'])}"]
        found["file"] = counts["file"] - counts["pixels"]
    return found


def largest_spread(value: Result) -> float:
    """Return by how much, relative to the least, processes that did the same differ at most."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in value["rows"]:
        for name, counts in row["counts"].items():
            found.setdefault((row["form"], row["processor"], name), []).append(counts["all"])
    return max(max(same) / min(same) - 1 for same in found.values())


def render(value: Result) -> str:
    """Return a table of totals for each processor, then of pictures and of kinds."""
    protocol = value["protocol"]
    first = [row for row in value["rows"] if row["run"] == 0]
    parts = []
    for name, facts in value["processors"].items():
        rows = [row for row in first if row["processor"] == name]
        parts.append(
            f"Millions of instructions executed for each token, processor with {name} "
            f"(qemu's `{facts['qemu']}`), 1 thread\n\n{_tokens(rows, protocol)}"
        )
    parts.append(f"Millions of instructions executed for a picture\n\n{_pictures(first, protocol)}")
    parts.append(
        "Share of instructions that are SDOT and its kind (dot) or SMMLA and its kind (matrix)\n\n"
        + _kinds(first, protocol)
    )
    runs = max(row["run"] for row in value["rows"]) + 1
    parts.append(
        f"Each process was run {runs} times; counts differed by at most "
        f"{100 * largest_spread(value):.3f}%.\n"
    )
    return "\n".join(parts)


def _tokens(rows: list[Row], protocol: Mapping[str, Any]) -> str:
    measures = [f"{phase} {n}" for n in protocol["prompts"] for phase in ("prefill", "decode")]
    peers = {row["bits"]: per_unit(row, protocol) for row in rows if row["side"] == "llama.cpp"}
    titles = ["form"]
    for name in measures:
        phase, length = name.split()
        titles += [f"{phase}, {length} tokens", "of llama.cpp"]
    lines = []
    for row in rows:
        found, peer = per_unit(row, protocol), peers[row["bits"]]
        cells = [(f"{found[m] / 1e6:.1f}", f"{found[m] / peer[m]:.2f}") for m in measures]
        lines.append([row["form"], *(cell for pair in cells for cell in pair)])
    return table(titles, lines)


def _pictures(rows: list[Row], protocol: Mapping[str, Any]) -> str:
    lines = []
    for row in rows:
        found = per_unit(row, protocol)
        if "picture" in found:
            cells = [f"{found[name] / 1e6:.1f}" for name in ("picture", "file")]
            lines.append([row["form"], row["processor"], *cells])
    return table(["form", "processor", "encoder", "decoding and resizing a PNG"], lines)


def _kinds(rows: list[Row], protocol: Mapping[str, Any]) -> str:
    longest = max(protocol["prompts"])
    measures = [f"{phase} {longest}" for phase in ("prefill", "decode")]
    titles = [f"{m.split()[0]}, {kind}" for m in measures for kind in ("dot", "matrix")]
    lines = []
    for row in rows:
        total = per_unit(row, protocol)
        cells = [
            f"{100 * per_unit(row, protocol, kind)[name] / total[name]:.1f}%"
            for name in measures
            for kind in ("dot", "matrix")
        ]
        lines.append([row["form"], row["processor"], *cells])
    return table(["form", "processor", *titles], lines)
