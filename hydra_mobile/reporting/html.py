"""The report as one HTML file that needs nothing else: no network, no script, no other file.

Text from the report is escaped; the style sheet and the pictures are inside. Renders what
`tables`, `benchmark_tables`, `verdicts`, `bars` and `plots` decided; adds no number of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from importlib import resources

from hydra_mobile.reporting import bars, benchmark_tables, plots, rank_history_svg, tables
from hydra_mobile.reporting.rank_history import totals
from hydra_mobile.reporting.schema import Report, TrainingSection
from hydra_mobile.reporting.tables import Cell, Column, Table
from hydra_mobile.reporting.verdicts import findings, size_summary

_MARKS = {"pass": ("✓", "passes"), "fail": ("✗", "fails"), "unknown": ("?", "not known")}
_MARKS |= {"note": ("·", "note"), "warning": ("!", "warning")}
#: Breakdowns with more rows are folded away behind their title.
_FOLD = 30


def render_html(report: Report) -> str:
    """Return the whole report as one HTML document."""
    style = resources.files(__package__).joinpath("report.css").read_text("utf-8")
    title = escape(report.title)
    body = "\n".join(part for part in _parts(report) if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _parts(report: Report) -> Iterable[str]:
    yield _header(report)
    yield _findings(report)
    if report.systems:
        notes = [tables.caution(report.environment), report.protocol, size_summary(report)]
        yield _section(tables.main_table(report), notes)
    yield from _benchmarks(report)
    note = "Median; the whisker spans quartiles."
    yield _figure("Decode speed", _drawn(bars.decode_bars, report), note)
    key = '<i class="key part-encode"></i>encode <i class="key part-prefill"></i>'
    picture = _drawn(bars.first_token_bars, report)
    yield _figure("Time to the first token", picture, f"{key}prefill and first token")
    if report.parity:
        yield _section(tables.parity_table(report))
    yield from _benchmark_details(report)
    if report.training:
        facts = _facts(tables.training_facts(report.training))
        yield f'<section class="training"><h2>Training</h2>{facts}</section>'
        key = '<i class="key line-smooth"></i>smoothed <i class="key line-raw"></i>raw'
        yield _figure("Loss", plots.loss_curve(report), key)
        key = "Color is distance from the uniform rank: orange above, blue below."
        for picture in plots.rank_maps(report):
            yield _figure("Rank map", picture, key)
        if report.training.rank_map:
            yield _section(tables.ranks_table(report.training, sparklines=False))
        yield from _ranks_over_time(report.training)
    if report.systems:
        yield _section(tables.timings_table(report))
        yield _section(tables.artifacts_table(report))
    for title, machine in tables.environments(report):
        facts = _facts(tables.environment_facts(machine))
        yield f"<section><h2>{escape(title)}</h2>{facts}</section>"
    if report.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield f"<section><h2>Notes</h2><ul>{items}</ul></section>"
    if report.licences:
        yield f"<section><h2>Licenses</h2>{_facts(list(report.licences.items()))}</section>"
    yield f"<footer>Report schema {report.schema}. All numbers are in report.json.</footer>"


def _benchmarks(report: Report) -> Iterable[str]:
    yield _figure("Scores", _drawn(bars.score_bars, report), _score_key(report))
    note = "Paired 95 % intervals: right of the line is better than the reference."
    yield _figure("Against the trained model", _drawn(bars.change_bars, report), note)
    if any(system.runs for system in report.systems):
        note = (
            "Timings and memory are those of the benchmark's own run where it has them, else of "
            "the speed measurement. In runner: share of the answering time inside the runtime. "
            "Small figures are 95 % intervals, of changes the paired ones."
        )
        yield _section(benchmark_tables.results_table(report), [note])


def _benchmark_details(report: Report) -> Iterable[str]:
    if any(system.runs for system in report.systems):
        yield _section(benchmark_tables.protocols_table(report))
    if report.comparisons:
        yield _section(benchmark_tables.changes_table(report), fold=True)
        flips = benchmark_tables.flips_table(report)
        if flips.rows:
            yield _section(flips, fold=True)
    if any(system.scores for system in report.systems):
        kinds = benchmark_tables.kinds_table(report)
        yield _section(kinds, fold=len(kinds.rows) > _FOLD)


def _drawn(draw: Callable[[Report, bars.Layout], str], report: Report) -> str:
    """Return a bar picture for wide and for narrow pages; the style sheet shows one of them."""
    return "".join(draw(report, layout) for layout in bars.LAYOUTS)


def _ranks_over_time(training: TrainingSection) -> Iterable[str]:
    history = training.rank_history
    if history is None or len(history.events) < 2:
        return
    key = "Color is distance from the uniform rank, as above; an outline marks what moved."
    for picture in rank_history_svg.rank_panels(training):
        yield _figure("Ranks over time", picture, key)
    key = (
        '<i class="key line-moved"></i>ranks changed <i class="key dot-abstained"></i>map kept '
        '<i class="key line-uniform"></i>uniform rank'
    )
    yield _figure("Mean rank over time", rank_history_svg.rank_lines(training), key)
    yield _section(tables.rank_events_table(history), [totals(history).words()])


def _header(report: Report) -> str:
    label = escape(report.environment.label)
    made = escape(report.created.replace("T", " ").removesuffix("Z").removesuffix("+00:00"))
    return (
        f'<header><p class="brand">hydra-mobile</p><h1>{escape(report.title)}</h1>'
        f'<p class="made">{made} UTC <span class="label">{label}</span></p></header>'
    )


def _findings(report: Report) -> str:
    items = []
    for finding in findings(report):
        mark, words = _MARKS[finding.status]
        items.append(
            f'<li class="{finding.status}"><span class="mark" role="img" aria-label="{words}">'
            f"{mark}</span><div><strong>{escape(finding.claim)}</strong>"
            f"<p>{escape(finding.evidence)}</p></div></li>"
        )
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""


def _score_key(report: Report) -> str:
    shown = {system.role for system in report.systems if system.scores}
    names = {
        "reference": "trained, torch",
        "export": "exported",
        "untrained": "untrained",
        "other": "other",
    }
    keys = (f'<i class="key {role}"></i>{words}' for role, words in names.items() if role in shown)
    return " ".join(keys)


def _figure(title: str, picture: str, key: str) -> str:
    """Return a figure; `picture` and `key` are markup."""
    if not picture:
        return ""
    caption = f"<figcaption><h3>{title}</h3><p>{key}</p></figcaption>"
    return f'<figure>{caption}<div class="scroll">{picture}</div></figure>'


def table_html(table: Table) -> str:
    """Return one table as HTML, without the page around it and its style sheet."""
    return _section(table)


def _section(table: Table, notes: Iterable[str] = (), fold: bool = False) -> str:
    head = "".join(_heading(column) for column in table.columns)
    rows = []
    for number, row in enumerate(table.rows):
        pairs = zip(row, table.columns, strict=True)
        cells = (_cell(cell, column, i) for i, (cell, column) in enumerate(pairs))
        kind = ' class="group"' if number and number in table.groups else ""
        rows.append(f"<tr{kind}>{''.join(cells)}</tr>")
    footnotes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes)
    below = f'<ol class="footnotes">{footnotes}</ol>' if footnotes else ""
    below += "".join(f'<p class="remark">{escape(note)}</p>' for note in notes if note)
    title = f"<h2>{escape(table.title)}</h2>"
    body = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{below}"
    )
    if fold:
        summary = f"<summary>{title}<span>{len(rows)} rows</span></summary>"
        return f"<section><details>{summary}{body}</details></section>"
    return f"<section>{title}{body}</section>"


def _heading(column: Column) -> str:
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    kind = "" if column.figures else ' class="words"'
    return f'<th scope="col"{kind}>{escape(column.title)}{unit}</th>'


def _cell(cell: Cell, column: Column, index: int) -> str:
    kinds = (cell.tone, "" if column.figures else "words", "prose" if column.prose else "")
    classes = [name for name in kinds if name]
    kind = f' class="{" ".join(classes)}"' if classes else ""
    text = escape(cell.text)
    if cell.footnote:
        text = f"{text}<sup>{cell.footnote}</sup>"
    if cell.detail:
        text += f"<small>{escape(cell.detail)}</small>"
    return f'<th scope="row"{kind}>{text}</th>' if index == 0 else f"<td{kind}>{text}</td>"


def _facts(facts: list[tuple[str, str]]) -> str:
    pairs = (f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f"<dl>{''.join(pairs)}</dl>"
