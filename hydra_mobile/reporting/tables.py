"""The report's tables, before they are Markdown, HTML or terminal text.

One place decides which columns there are, how numbers are rounded and what stands where nothing
was measured: a dash, with the reason as a footnote when one is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hydra_mobile.reporting import formats
from hydra_mobile.reporting.formats import (
    DASH,
    TIMES,
    count,
    duration,
    gain,
    megabytes,
    milliseconds,
    number,
    percent,
    ratio,
)
from hydra_mobile.reporting.measures import measures
from hydra_mobile.reporting.rank_history import totals
from hydra_mobile.reporting.ranks import grids, sparkline
from hydra_mobile.reporting.results import Environment, Score, Spread, SystemResult
from hydra_mobile.reporting.schema import ParityPart, ParityScore, Report
from hydra_mobile.reporting.training_section import RankHistorySection, TrainingSection
from hydra_mobile.reporting.verdicts import decode_ratio


@dataclass(frozen=True)
class Cell:
    """One table cell.

    Attributes:
        text: what is shown.
        detail: smaller, beside or below it.
        footnote: number of the footnote, from 1.
        tone: "good", "bad", "muted" or nothing.
    """

    text: str
    detail: str = ""
    footnote: int | None = None
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; figures are set flush right, words flush left; prose may break into lines."""

    title: str
    unit: str = ""
    figures: bool = True
    prose: bool = False


@dataclass
class Table:
    """Columns, rows and the footnotes that the rows point to; `groups`: rows that begin one."""

    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def dash(self, reason: str | None = None) -> Cell:
        """Return the cell for "not measured"; equal reasons share a footnote."""
        if not reason:
            return Cell(DASH, tone="muted")
        return Cell(DASH, footnote=self.note(reason), tone="muted")

    def note(self, text: str) -> int:
        """Return the number of the footnote that says `text`; equal ones are one."""
        if text not in self.footnotes:
            self.footnotes.append(text)
        return self.footnotes.index(text) + 1


def main_table(report: Report) -> Table:
    """Return the table of systems side by side."""
    shown = measures(report)
    scored = [Column(m.title, f"{formats.sign_of(m.unit)} (95%)") for m in shown]
    table = Table(
        "Models side by side",
        (
            Column("Model", figures=False),
            *scored,
            Column("Same as torch", "%"),
            Column("Size", "MB"),
            Column("Peak memory", "MB"),
            Column("Encode", "ms"),
            Column("Prefill", "tok/s"),
            Column("Decode", "tok/s"),
            Column(f"{TIMES} torch"),
        ),
    )
    for system in report.systems:
        timings, missing = system.timings, system.reasons
        table.rows.append(
            (
                Cell(system.name),
                *(score_cell(table, system, measure.of(system)) for measure in shown),
                _agreement_cell(table, system),
                bytes_cell(table, system, "size_bytes"),
                bytes_cell(table, system, "peak_memory_bytes"),
                median_cell(table, timings.encode, milliseconds, missing.get("encode")),
                median_cell(
                    table,
                    timings.prefill_tokens_per_second,
                    number,
                    missing.get("prefill_tokens_per_second"),
                ),
                median_cell(
                    table,
                    timings.decode_tokens_per_second,
                    number,
                    missing.get("decode_tokens_per_second"),
                ),
                _ratio_cell(table, report, system),
            )
        )
    return table


def score_cell(table: Table, system: SystemResult, score: Score | None) -> Cell:
    """Return a score with its interval."""
    if score is None:
        return table.dash(system.reasons.get("scores"))
    between = formats.score_interval(score.low, score.high, score.unit)
    return Cell(formats.score(score.value, score.unit), between)


def _agreement_cell(table: Table, system: SystemResult) -> Cell:
    if system.role == "reference":
        return Cell("reference", tone="muted")
    if not system.agreement:
        return table.dash(system.reasons.get("agreement"))
    same = sum(a.same for a in system.agreement.values())
    asked = sum(a.n for a in system.agreement.values())
    return Cell(percent(same / asked), f"{same}/{asked}") if asked else table.dash()


def bytes_cell(table: Table, system: SystemResult, name: str) -> Cell:
    """Return a field of a system that counts bytes, in MB."""
    value: int | None = getattr(system, name)
    return table.dash(system.reasons.get(name)) if value is None else Cell(megabytes(value))


def _ratio_cell(table: Table, report: Report, system: SystemResult) -> Cell:
    times = decode_ratio(report, system)
    return table.dash() if times is None else Cell(ratio(times))


def median_cell(
    table: Table, spread: Spread | None, show: Callable[[float], str], reason: str | None
) -> Cell:
    """Return the median of measurements, or the dash with its reason."""
    return table.dash(reason) if spread is None else Cell(show(spread.median))


def _quartiles(
    table: Table, spread: Spread | None, show: Callable[[float], str], reason: str | None
) -> Cell:
    if spread is None:
        return table.dash(reason)
    detail = f"{show(spread.p25)}{DASH}{show(spread.p75)}, n {spread.n}" if spread.n > 1 else "n 1"
    return Cell(show(spread.median), detail)


def timings_table(report: Report) -> Table:
    """Return every timing as median and quartiles."""
    shown: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
        ("load", "Load", "ms", milliseconds),
        ("encode", "Encode", "ms", milliseconds),
        ("first_token", "First token", "ms", milliseconds),
        ("prefill_tokens_per_second", "Prefill", "tok/s", number),
        ("decode_tokens_per_second", "Decode", "tok/s", number),
    )
    columns = (
        Column("Model", figures=False),
        Column("Threads"),
        *(Column(title, unit) for _, title, unit, _ in shown),
    )
    table = Table("Timings, median and quartiles", columns)
    for system in report.systems:
        threads = table.dash() if system.threads is None else Cell(str(system.threads))
        cells = (
            _quartiles(table, getattr(system.timings, key), show, system.reasons.get(key))
            for key, _, _, show in shown
        )
        table.rows.append((Cell(system.name), threads, *cells))
    return table


def parity_table(report: Report) -> Table:
    """Return the steps of the parity check."""
    table = Table(
        "Parity, step by step",
        (
            Column("Comparison", figures=False),
            Column("Largest difference"),
            Column("Mean difference"),
            Column("Cosine"),
            Column("Same top token", "%"),
            Column("Same greedy answer", "%"),
            Column("Tolerance"),
            Column("Verdict", figures=False),
        ),
    )
    tones = {"pass": "good", "fail": "bad", "not gated": "muted"}
    for row in report.parity:
        values = (
            number(row.max_abs),
            number(row.mean_abs),
            DASH if row.cosine is None else _cosine(row.cosine),
            percent(row.top1_agreement),
            percent(row.greedy_match),
            number(row.tolerance, 1),
        )
        cells = (Cell(text, tone="muted" if text == DASH else "") for text in values)
        verdict = Cell(row.verdict, tone=tones[row.verdict])
        table.rows.append((Cell(row.rung), *cells, verdict))
        table.rows += [_parity_part(part) for part in row.parts]
        if row.score is not None:
            table.rows.append(_parity_score(row.score))
    return table


def _parity_part(part: ParityPart) -> tuple[Cell, ...]:
    values = (
        number(part.max_abs),
        number(part.mean_abs),
        DASH if part.cosine is None else _cosine(part.cosine),
        percent(part.top1_agreement),
        DASH,
        DASH,
    )
    tone = {"pass": "good", "fail": "bad", "absent": "muted"}[part.verdict]
    cells = (Cell(text, tone="muted" if text == DASH else "") for text in values)
    return (Cell(f"· {part.part}"), *cells, Cell(part.verdict, tone=tone))


def _parity_score(score: ParityScore) -> tuple[Cell, ...]:
    """Return the change of the score, which counts in the verdict of its step."""
    change = f"{100 * score.change:+.1f} points"
    between = f"{100 * score.low:+.1f} to {100 * score.high:+.1f}"
    name = f"· {score.benchmark}, {count(score.n)} questions: {change} ({between})"
    dashes = (Cell(DASH, tone="muted") for _ in range(4))
    same = Cell(percent(score.same))
    muted = Cell(DASH, tone="muted")
    return (Cell(name), *dashes, same, muted, muted)


def _cosine(value: float) -> str:
    # The interest lies in the distance from 1; five nines must not round to one.
    text = f"{value:.6f}"
    return "> 0.999999" if value < 1 and text == "1.000000" else text


def artifacts_table(report: Report) -> Table:
    """Return what each row was made from and what its backend took over."""
    table = Table(
        "Artifacts",
        (
            Column("Model", figures=False),
            Column("ModelRef", figures=False),
            Column("Runtime", figures=False),
            Column("Preset", figures=False),
            Column("Nodes on fast kernels", "%"),
            Column("MACs on fast kernels", "%"),
            Column("Source", figures=False),
        ),
    )
    for system in report.systems:
        part, reason = system.delegation, system.reasons.get("delegation")
        shares = (part.nodes, part.macs) if part else (None, None)
        table.rows.append(
            (
                Cell(system.name),
                Cell(system.artefact) if system.artefact else table.dash(),
                Cell(system.runtime),
                Cell(system.preset),
                *(table.dash(reason) if s is None else Cell(percent(s)) for s in shares),
                Cell(system.source_hash[:12]) if system.source_hash else table.dash(),
            )
        )
    return table


def ranks_table(training: TrainingSection, sparklines: bool = True) -> Table:
    """Return the rank map in short: one row per stack and projection.

    Args:
        training: holds the rank map.
        sparklines: whether to add the ranks over the layers, for where no picture can be.
    """
    over_layers = (Column("First to last layer", figures=False),) if sparklines else ()
    table = Table(
        f"Ranks ({training.policy}; uniform would be {training.r_ref} everywhere)",
        (
            Column("Projection", figures=False),
            Column("Modules"),
            Column("At rank 0"),
            Column("Least"),
            Column("Mean"),
            Column("Greatest"),
            *over_layers,
        ),
    )
    arranged = grids(training.rank_map)
    for grid in arranged:
        for projection in grid.projections:
            ranks = grid.of_projection(projection)
            name = f"{grid.stack}: {projection}" if len(arranged) > 1 else projection
            texts = [
                name,
                str(len(ranks)),
                str(sum(rank == 0 for rank in ranks)),
                str(min(ranks)),
                f"{sum(ranks) / len(ranks):.1f}",
                str(max(ranks)),
            ]
            texts += [sparkline(ranks)] if sparklines else []
            table.rows.append(tuple(Cell(text) for text in texts))
    return table


def rank_events_table(history: RankHistorySection) -> Table:
    """Return the events of the rank history, one row each."""
    table = Table(
        "Rank events",
        (
            Column("Step"),
            Column("Event", figures=False),
            Column("What", figures=False, prose=True),
            Column("Predicted gain", "nats"),
            Column("Measured gain", "nats"),
            Column("Parameters"),
            Column("Spare"),
            Column("Why", figures=False, prose=True),
        ),
    )
    for event in history.events:
        used, reference = event.parameters, event.reference
        spare = None if used is None or reference is None else reference - used
        figures = (
            gain(event.predicted_gain),
            gain(event.realised_gain),
            count(used),
            count(spare),
        )
        table.rows.append(
            (
                Cell(count(event.step)),
                Cell(event.kind, tone="" if event.ranks else "muted"),
                Cell(event.moved),
                *(Cell(text, tone="muted" if text == DASH else "") for text in figures),
                Cell(event.reason),
            )
        )
    return table


def training_facts(training: TrainingSection) -> list[tuple[str, str]]:
    """Return the training as (name, value) pairs."""
    counts = training.parameters
    facts = [
        ("Base", training.base),
        ("Rank policy", f"{training.policy}, reference rank {training.r_ref}"),
        ("LoRA parameters", f"{count(counts.lora)} of a budget of {count(counts.budget)}"),
        ("Projector parameters", count(counts.projector)),
    ]
    if training.rank_history and (words := totals(training.rank_history).words()):
        facts.append(("Ranks over time", words))
    for stage in training.stages:
        speed = stage.samples_per_second
        parts = [f"{count(stage.steps)} steps", duration(stage.seconds)]
        parts.append(DASH if speed is None else f"{number(speed)} samples/s")
        known = [part for part in parts if part != DASH]
        facts.append((f"Stage {stage.name}", ", ".join(known)))
    if training.peak_memory_bytes is not None:
        facts.append(("Peak memory", f"{megabytes(training.peak_memory_bytes)} MB"))
    return facts


def environments(report: Report) -> list[tuple[str, Environment]]:
    """Return (title, machine) of every measurement that the report's numbers come from."""
    found = [("Environment", report.environment)]
    others: list[tuple[Environment, list[str]]] = []
    for system in report.systems:
        if system.environment is None:
            continue
        same = next((names for machine, names in others if machine == system.environment), None)
        if same is None:
            others.append((system.environment, [system.name]))
        else:
            same.append(system.name)
    return found + [(f"Environment of {', '.join(names)}", e) for e, names in others]


def environment_facts(environment: Environment) -> list[tuple[str, str]]:
    """Return the machine as (name, value) pairs."""
    cores = [
        f"{value} {name}"
        for value, name in (
            (environment.cores_physical, "physical"),
            (environment.cores_logical, "logical"),
        )
        if value is not None
    ]
    load = environment.load_average
    facts = [
        ("Kind", environment.label),
        ("Processor", environment.cpu or DASH),
        ("Cores", ", ".join(cores) or DASH),
        ("Instructions", " ".join(environment.cpu_flags) or DASH),
        ("Accelerator", environment.accelerator or "none used"),
        ("Memory", _gigabytes(environment.memory_bytes)),
        ("Load at start", " ".join(f"{value:.2f}" for value in load) if load else DASH),
        ("System", environment.system),
        ("Python", environment.python),
        ("Packages", ", ".join(f"{k} {v}" for k, v in environment.packages.items()) or DASH),
        ("Sources", environment.git_revision or DASH),
    ]
    return facts


def _gigabytes(value: int | None) -> str:
    return DASH if value is None else f"{value / 1e9:.1f} GB"


def caution(environment: Environment) -> str:
    """Return what the timings of this machine do not say."""
    if environment.kind == "device":
        return f"Timings are of this {environment.label}."
    where = f" ({environment.cpu})" if environment.cpu else ""
    if environment.kind == "emulator":
        return "An emulator shows correctness; its timings say nothing about a phone."
    return f"Timings are of this {environment.label}{where} and say nothing about a phone."
