"""Merge several results into one report, with comparisons where the data are given."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.benchmarks.about import titles
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json, unwrapped
from hydra_mobile.evaluation.results.compare_reports import Kept, compare_across
from hydra_mobile.evaluation.results.report_from_scores import is_scored, scored_report
from hydra_mobile.reporting.environment import collect
from hydra_mobile.reporting.merge import Named, beside
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.write import new_report, read_report

_FILE = "report.json"


def results_beside(
    paths: Sequence[Path], out: Path, *, data: Path | None = None, title: str = ""
) -> Report:
    """Return one report of all results.

    Args:
        paths: folders of reports, their report.json, or JSON of the score command.
        out: the folder that the new report will be written to; flipped answers go there.
        data: folder of the benchmarks' data, to compare across reports; None for no comparing.
        title: of the new report; "" for one made of the names.

    Raises:
        HydraError: a result is missing, damaged, there twice, or is where the new one is to go.
    """
    files = [_file_of(path) for path in paths]
    twice = [file for file, count in Counter(f.resolve() for f in files).items() if count > 1]
    if twice:
        raise HydraError(f"{twice[0]} is there twice.", "Name each result once.")
    if any(file.resolve() == (out / _FILE).resolve() for file in files):
        raise HydraError(
            f"The new report would replace {out / _FILE}, one of those that it is made of.",
            "Choose another folder: --out DIR",
        )
    names = _names(files)
    given = [Named(name, _read(file)) for name, file in zip(names, files, strict=True)]
    made = new_report(title or f"{', '.join(names)} side by side", collect())
    together = beside(given, made.title, made.created)
    # Older reports have no titles.
    scored = {s.benchmark for system in together.report.systems for s in system.scores}
    known = titles(sorted(scored)) | together.report.titles
    report = dataclasses.replace(together.report, titles=known)
    if data is None:
        return report
    kept = [
        Kept(together.names[item.name][system.name], file.parent, system)
        for item, file in zip(given, files, strict=True)
        for system in item.report.systems
    ]
    reference = next((k for k in kept if k.system.role == "reference"), kept[0] if kept else None)
    if reference is None:
        return report
    across = compare_across(kept, reference, data, out)
    compared = {(c.benchmark, c.system) for c in across.comparisons}
    older = (c for c in report.comparisons if (c.benchmark, c.system) not in compared)
    return dataclasses.replace(
        report,
        comparisons=(*across.comparisons, *older),
        notes=(*report.notes, *(f"{text}." for text in across.left_out)),
    )


def _file_of(path: Path) -> Path:
    return path / _FILE if path.is_dir() else path


def _read(file: Path) -> Report:
    found = read_json(file, "a report, or what `hydra-mobile score --json` prints")
    value = unwrapped(found)
    if is_scored(value):
        return scored_report(value, file)
    if value == found:
        return read_report(file)
    try:
        return Report.from_dict(value)
    except ArtifactError as error:
        raise ArtifactError(f"{file}: {error.what}", error.fix) from error


def _names(files: Sequence[Path]) -> list[str]:
    """Return short names that differ: the folder or file, with as many parents as are needed."""
    places = [
        (f.absolute().parent if f.name == _FILE else f.absolute().with_suffix("")).parts
        for f in files
    ]
    names = []
    for place in places:
        depth = 1
        while sum(other[-depth:] == place[-depth:] for other in places) > 1 and depth < len(place):
            depth += 1
        names.append("/".join(part for part in place[-depth:] if part != "/"))
    return names
