"""A report as files: report.json, report.md and report.html in one folder.

The JSON is the source; the other two are rendered from it and can be made again with
`write_report(read_report(folder), folder)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically, write_json
from hydra_mobile.core.integrity import SEAL, read_sealed, sealed
from hydra_mobile.reporting.environment import collect
from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.results import Environment
from hydra_mobile.reporting.schema import REPORT_SCHEMA, ParityRow, Report


def new_report(title: str, environment: Environment) -> Report:
    """Return an empty report of this moment."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Report(schema=REPORT_SCHEMA, created=created, title=title, environment=environment)


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the three files, each whole or not at all, and return their paths.

    Other files in `folder` stay. The JSON comes last, so that a report.json never stands beside
    renderings that are older than it; where there is none yet it comes first, because by it the
    folder is known as ours when this is cut short.
    """
    # Rendered before anything is written: a report that cannot be shown leaves the old one alone.
    rendered = {"report.md": render_markdown(report), "report.html": render_html(report)}
    data = sealed(report.to_dict())
    file = folder / "report.json"
    paths = []
    first = not file.exists()
    if first:
        write_json(file, data)
    for name, text in rendered.items():
        path = folder / name
        with write_atomically(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(path)
    if not first:
        write_json(file, data)
    return [file, *paths]


def add_parity(folder: Path, rows: Sequence[ParityRow]) -> Path:
    """Add rungs to the report in `folder`, in place of those of one name; return its JSON.

    Raises:
        ArtifactError: the report that is there is damaged or of another version.
    """
    if (folder / "report.json").is_file():
        report = read_report(folder)
    else:
        report = new_report("hydra-mobile: parity check", collect())
    names = {row.rung for row in rows}
    kept = tuple(row for row in report.parity if row.rung not in names)
    return write_report(replace(report, parity=(*kept, *rows)), folder)[0]


def read_report(path: Path) -> Report:
    """Read report.json, from its own path or from the folder that holds it.

    Raises:
        ArtifactError: the file is missing, altered or of another version; names the file.
    """
    file = path / "report.json" if path.is_dir() else path
    value = read_sealed(file, "a report", "Make it again: the same command goes on from answers.")
    value.pop(SEAL, None)
    try:
        return Report.from_dict(value)
    except ArtifactError as error:
        raise ArtifactError(f"{file}: {error.what}", error.fix) from error
