"""The report's tables about benchmarks: results, protocols, changes, flipped answers, kinds.

As `tables`, they decide what is shown and how it is rounded, and know no output format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from hydra_mobile.core.json_text import dumps
from hydra_mobile.reporting import formats
from hydra_mobile.reporting.formats import (
    DASH,
    count,
    megabytes,
    milliseconds,
    number,
    percent,
    shortened,
)
from hydra_mobile.reporting.measures import benchmarks, measures, place
from hydra_mobile.reporting.results import BenchmarkRun, Comparison, Score, Spread, SystemResult
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.tables import Cell, Column, Table, bytes_cell, median_cell, score_cell

#: Flipped answers that are shown of each comparison; the rest is in its file.
_FLIPS_SHOWN = 4
_LONG = 90


def results_table(report: Report) -> Table:
    """Return one row for each artifact and preset on each benchmark, the benchmarks as groups."""
    table = Table(
        "Results",
        (
            Column("Model", figures=False),
            Column("Score", "% or points"),
            Column("Against trained", "change"),
            Column("Flipped", "better, worse"),
            Column("n"),
            Column("Encode", "ms"),
            Column("Prefill", "tok/s"),
            Column("First token", "ms"),
            Column("Decode", "tok/s"),
            Column("Peak memory", "MB"),
            Column("On fast path", "% MACs"),
            Column("In runner", "% of time"),
        ),
    )
    for benchmark in benchmarks(report):
        shown = [m for m in measures(report) if m.benchmark == benchmark]
        measure = next((m for m in shown if m.headline), shown[0] if shown else None)
        if measure is None:
            continue
        table.groups.append(len(table.rows))
        for system in report.systems:
            score = measure.of(system)
            if score is not None:
                table.rows.append(_result(table, report, system, score))
    return table


def _result(table: Table, report: Report, system: SystemResult, score: Score) -> tuple[Cell, ...]:
    run = system.run(score.benchmark)
    words = place(score.benchmark, score.split, score.kind)
    detail = " ".join([report.title_of(score.benchmark), *words])
    comparison = report.comparison(score.benchmark, system.name)
    return (
        Cell(system.name, detail, _source(table, report, run)),
        score_cell(table, system, score),
        _change_cell(table, report, system, comparison),
        _flipped_cell(table, comparison),
        Cell(count(score.n)),
        _timing(table, system, run, "encode", milliseconds),
        _timing(table, system, run, "prefill_tokens_per_second", number),
        _timing(table, system, run, "first_token", milliseconds),
        _timing(table, system, run, "decode_tokens_per_second", number),
        Cell(megabytes(run.peak_memory_bytes))
        if run and run.peak_memory_bytes is not None
        else bytes_cell(table, system, "peak_memory_bytes"),
        _delegated(table, system),
        _share(table, run),
    )


def _source(table: Table, report: Report, run: BenchmarkRun | None) -> int | None:
    """Return the footnote that names the files: releases of one benchmark give other scores."""
    if run is None or not run.sources:
        return None
    protocol = run.protocol or "not recorded"
    files = ", ".join(run.sources)
    return table.note(f"{report.title_of(run.benchmark)}: {files}; protocol {protocol}")


def _change_cell(
    table: Table, report: Report, system: SystemResult, comparison: Comparison | None
) -> Cell:
    move = comparison.headline if comparison else None
    if comparison is None or move is None:
        if report.reference is not None and system.name == report.reference.name:
            return Cell("reference", tone="muted")
        return table.dash(system.reasons.get("comparison"))
    tone = "bad" if move.high < 0 else "good" if move.low > 0 else ""
    between = formats.change_interval(move.low, move.high, move.unit)
    reference = report.reference
    other = reference is None or comparison.reference != reference.name
    footnote = table.note(f"against {comparison.reference}") if other else None
    return Cell(formats.change(move.change, move.unit), between, footnote, tone)


def _flipped_cell(table: Table, comparison: Comparison | None) -> Cell:
    if comparison is None:
        return table.dash()
    return Cell(f"+{count(comparison.gained)}, \u2212{count(comparison.lost)}")


def _timing(
    table: Table,
    system: SystemResult,
    run: BenchmarkRun | None,
    name: str,
    show: Callable[[float], str],
) -> Cell:
    """Return a timing taken on the benchmark itself, else that of the system."""
    own: Spread | None = getattr(run.timings, name) if run else None
    spread: Spread | None = own or getattr(system.timings, name)
    return median_cell(table, spread, show, system.reasons.get(name))


def _delegated(table: Table, system: SystemResult) -> Cell:
    share = system.delegation.macs if system.delegation else None
    return table.dash(system.reasons.get("delegation")) if share is None else Cell(percent(share))


def _share(table: Table, run: BenchmarkRun | None) -> Cell:
    share = run.runner_share if run else None
    return table.dash() if share is None else Cell(percent(share))


def protocols_table(report: Report) -> Table:
    """Return how each benchmark was asked: one row for each way, with the systems asked so."""
    table = Table(
        "Protocols",
        (
            Column("Benchmark", figures=False),
            Column("Protocol", figures=False),
            Column("Questions"),
            Column("Files", figures=False, prose=True),
            Column("How it was asked", figures=False, prose=True),
            Column("Systems", figures=False, prose=True),
        ),
    )
    ways: dict[str, tuple[BenchmarkRun, list[str]]] = {}
    for system in report.systems:
        for run in system.runs:
            asked = (run.questions, run.answered, run.samples)
            key = repr((run.benchmark, run.protocol, run.facts, run.sources, asked))
            ways.setdefault(key, (run, []))[1].append(system.name)
    every = len(report.systems)
    for run, names in sorted(ways.values(), key=lambda way: way[0].benchmark):
        questions = count(run.questions)
        if not run.complete:
            questions = f"{count(run.answered)} of {questions}"
        table.rows.append(
            (
                Cell(report.title_of(run.benchmark)),
                Cell(run.protocol or "not recorded"),
                Cell(questions),
                Cell(", ".join(run.sources) or DASH),
                Cell("; ".join(_facts(run.facts)) or DASH),
                Cell("all" if len(names) == every > 1 else ", ".join(names)),
            )
        )
    return table


def _facts(facts: dict[str, Any]) -> Iterable[str]:
    for name, value in facts.items():
        if name in ("protocol", "files", "sources") or value in ([], {}, None, ""):
            continue
        if isinstance(value, list):
            text = "; ".join(str(item) for item in value)
        else:
            text = value if isinstance(value, str) else dumps(value, ensure_ascii=False)
        yield f"{name.replace('_', ' ')}: {text.strip()}"


def changes_table(report: Report) -> Table:
    """Return the change of every number against the reference: one column a system."""
    systems = list(dict.fromkeys(c.system for c in report.comparisons))
    table = Table(
        "Every number against the trained model",
        (
            Column("Number", figures=False),
            *(Column(name, "change (95%)") for name in systems),
        ),
    )
    found = {
        (c.benchmark, move.split, move.kind, c.system): move
        for c in report.comparisons
        for move in c.changes
    }
    for benchmark, split, kind in dict.fromkeys(key[:3] for key in found):
        cells = []
        for name in systems:
            move = found.get((benchmark, split, kind, name))
            if move is None:
                cells.append(table.dash())
                continue
            tone = "bad" if move.high < 0 else "good" if move.low > 0 else ""
            between = formats.change_interval(move.low, move.high, move.unit)
            cells.append(Cell(formats.change(move.change, move.unit), between, tone=tone))
        table.rows.append((Cell(_place(report, benchmark, split, kind)), *cells))
    return table


def flips_table(report: Report, shown: int = _FLIPS_SHOWN) -> Table:
    """Return some flipped answers of every comparison.

    Args:
        report: holds the comparisons.
        shown: at most so many of each.
    """
    table = Table(
        "Flipped answers, some of each",
        (
            Column("Model", figures=False),
            Column("Question", figures=False, prose=True),
            Column("Expected", figures=False, prose=True),
            Column("Reference said", figures=False, prose=True),
            Column("System said", figures=False, prose=True),
        ),
    )
    for comparison in report.comparisons:
        # Lost and gained ones, as far as there are both.
        lost = [f for f in comparison.flips if f.credit < f.reference_credit]
        gained = [f for f in comparison.flips if f.credit >= f.reference_credit]
        few = gained[: max(shown // 2, shown - len(lost))]
        for flip in (*lost[: shown - len(few)], *few):
            better = flip.credit > flip.reference_credit
            table.rows.append(
                (
                    Cell(comparison.system, report.title_of(comparison.benchmark)),
                    Cell(
                        shortened(flip.question, _LONG),
                        flip.key if len(flip.key) <= 40 else "",
                    ),
                    Cell(shortened(flip.expected, _LONG)),
                    Cell(
                        shortened(flip.reference_answer, _LONG),
                        tone="bad" if better else "good",
                    ),
                    Cell(shortened(flip.answer, _LONG), tone="good" if better else "bad"),
                )
            )
        if comparison.flips_file:
            where = f"{comparison.system}, {report.title_of(comparison.benchmark)}"
            flipped = count(comparison.gained + comparison.lost)
            table.footnotes.append(f"{where}: all {flipped} in {comparison.flips_file}")
    return table


def kinds_table(report: Report) -> Table:
    """Return the scores by kind of question: one row per split and kind, one column a system."""
    scored = [system for system in report.systems if system.scores]
    table = Table(
        "Scores by kind of question",
        (
            Column("Questions", figures=False),
            Column("n"),
            Column("Constant", "% or points"),
            *(Column(system.name, "% or points") for system in scored),
        ),
    )
    alone = len(benchmarks(report)) == 1
    every = (score for system in scored for score in system.scores)
    rows = dict.fromkeys((s.benchmark, s.split, s.kind) for s in every)
    for benchmark, split, kind in rows:
        found = [system.score(benchmark, split, kind) for system in scored]
        first = next(score for score in found if score)
        constant = first.majority
        cells = (_with_unread(table, *pair) for pair in zip(scored, found, strict=True))
        name = f"{split}, {kind}" if alone else _place(report, benchmark, split, kind)
        shown = table.dash() if constant is None else Cell(formats.score(constant, first.unit))
        table.rows.append((Cell(name), Cell(count(first.n)), shown, *cells))
    return table


def _with_unread(table: Table, system: SystemResult, score: Score | None) -> Cell:
    """Return a score; below it, how many answers could not be read as any valid answer."""
    if score is None:
        return table.dash()
    cell = score_cell(table, system, score)
    if not score.unread:
        return cell
    return dataclasses.replace(cell, detail=f"{cell.detail}; {count(score.unread)} unread")


def _place(report: Report, benchmark: str, split: str, kind: str) -> str:
    return " ".join([report.title_of(benchmark), *(place(benchmark, split, kind) or ["all"])])
