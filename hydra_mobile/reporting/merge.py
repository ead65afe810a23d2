"""Several reports as one, so that any results stand beside each other.

Every row keeps its numbers and says where it was measured; nothing is computed anew, and what must
not be compared is left apart: the machine of each row, ratios of speed, comparisons with another
trained model. Reads no file; the report command does, and writes what comes from here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra_mobile.reporting.evidence import renamed
from hydra_mobile.reporting.results import Comparison, SystemResult, Timings
from hydra_mobile.reporting.schema import Report


@dataclass(frozen=True)
class Named:
    """A report and what to call it.

    Attributes:
        name: short, unlike the others'; stands behind names of rows that would be alike.
        report: the report.
    """

    name: str
    report: Report


@dataclass(frozen=True)
class Beside:
    """Reports put together.

    Attributes:
        report: all rows.
        names: report name -> name of a row in it -> name of that row in `report`.
    """

    report: Report
    names: Mapping[str, Mapping[str, str]]


def beside(given: Sequence[Named], title: str, created: str) -> Beside:
    """Put reports together.

    The first report's machine is the report's own; every row measured elsewhere carries its own.
    The first trained model is the reference; another one is a row like others, unless it was made
    from the same weights.

    Args:
        given: at least one; names differ.
        title: of the new report.
        created: its time, UTC, ISO 8601.
    """
    # An answers file was scored nowhere in particular: the machine is that of the first timings.
    first = next(
        (i.report for i in given if any(map(_measured, i.report.systems))), given[0].report
    )
    counts = Counter(system.name for item in given for system in item.report.systems)
    names = {
        item.name: {
            s.name: f"{s.name} ({item.name})" if counts[s.name] > 1 else s.name
            for s in item.report.systems
        }
        for item in given
    }
    reference = next((i.report.reference for i in given if i.report.reference), None)
    systems = tuple(
        _row(system, item.report, first, names[item.name][system.name], reference)
        for item in given
        for system in item.report.systems
    )
    trained = [item for item in given if item.report.training]
    several = len(given) > 1
    report = Report(
        schema=first.schema,
        created=created,
        title=title,
        environment=first.environment,
        training=trained[0].report.training if trained else None,
        systems=systems,
        parity=tuple(
            dataclasses.replace(row, rung=f"{item.name}: {row.rung}") if several else row
            for item in given
            for row in item.report.parity
        ),
        protocol=_protocol(given),
        notes=_notes(given, trained),
        titles={k: v for item in given for k, v in item.report.titles.items()},
        licences={k: v for item in given for k, v in item.report.licences.items()},
        comparisons=tuple(
            _renamed(comparison, names[item.name])
            for item in given
            for comparison in item.report.comparisons
        ),
        questions=next(
            (renamed(i.report.questions, names[i.name]) for i in given if i.report.questions), None
        ),
    )
    return Beside(report, names)


def _row(
    system: SystemResult,
    own: Report,
    first: Report,
    name: str,
    reference: SystemResult | None,
) -> SystemResult:
    environment = system.environment or own.environment
    elsewhere = environment != first.environment and _measured(system)
    role = system.role
    if role == "reference" and reference is not None and system is not reference:
        same = system.source_hash is not None and system.source_hash == reference.source_hash
        role = "reference" if same else "other"
    return dataclasses.replace(
        system,
        name=name,
        role=role,
        environment=environment if elsewhere else None,
        # The answers lie under the folder of the report that they came with.
        runs=tuple(dataclasses.replace(run, answers="") for run in system.runs),
    )


def _measured(system: SystemResult) -> bool:
    return system.timings != Timings() or system.peak_memory_bytes is not None


def _renamed(comparison: Comparison, names: Mapping[str, str]) -> Comparison:
    return dataclasses.replace(
        comparison,
        system=names.get(comparison.system, comparison.system),
        reference=names.get(comparison.reference, comparison.reference),
        # As the answers: under the folder of the report that it came with.
        flips_file="",
    )


def _protocol(given: Sequence[Named]) -> str:
    told = {item.name: item.report.protocol for item in given if item.report.protocol}
    if len(set(told.values())) <= 1:
        return next(iter(told.values()), "")
    return "; ".join(f"{name}: {text}" for name, text in told.items())


def _notes(given: Sequence[Named], trained: Sequence[Named]) -> tuple[str, ...]:
    made = ", ".join(f"{item.name} ({item.report.title}, {item.report.created})" for item in given)
    notes = [f"Put together from: {made}."]
    timed = [item.report for item in given if any(map(_measured, item.report.systems))]
    if len({repr(report.environment) for report in timed}) > 1:
        notes.append(
            "Timings and memory come from several measurements, each with its own machine and "
            "load; ratios of speed are given only within the first."
        )
    if len(trained) > 1:
        others = ", ".join(item.name for item in trained[1:])
        notes.append(f"The training shown is that of {trained[0].name}; see also {others}.")
    counts = Counter(note for item in given for note in set(item.report.notes))
    for item in given:
        for note in item.report.notes:
            text = note if counts[note] > 1 or len(given) == 1 else f"{item.name}: {note}"
            if text not in notes:
                notes.append(text)
    return tuple(notes)
