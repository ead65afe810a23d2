"""MMBench's answers files: LLaVA's lines, and tables with a column `prediction` (xlsx, tsv, csv).

The workbook is what MMBench's server takes: index, question, options, prediction, answer where
there is one, split.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra_mobile.benchmarks.base import AnswerMatcher, Joined, Sample
from hydra_mobile.benchmarks.mmbench.files import letters_of, row_index
from hydra_mobile.benchmarks.shared.answer_files import (
    Record,
    asks,
    bare,
    read_records,
    read_text,
)
from hydra_mobile.benchmarks.shared.submission_formats import file_name, llava_line, write_lines
from hydra_mobile.benchmarks.shared.tab_separated import read_columns, read_rows
from hydra_mobile.benchmarks.shared.xlsx import read_sheet, write_sheet
from hydra_mobile.core.errors import DataError

_DROPPED = ("hint", "category", "source", "image", "comment", "l2-category")


def join_answers(path: Path, samples: Sequence[Sample]) -> Joined:
    """Join an answers file to the rows by their index.

    Raises:
        DataError: the file cannot be read, or lacks the columns `index` and `prediction`.
    """
    joiner = AnswerMatcher(samples, path)
    by_index = {sample.key: sample for sample in samples}
    if path.suffix.lower() in (".xlsx", ".tsv", ".csv"):
        empty = 0
        for where, cells in _table(path):
            _join_row(joiner, by_index, where, cells)
            empty += not cells["prediction"].strip()
        if empty:
            # A cell does not tell an answer without text from one that was never given.
            joiner.note(f"{empty} rows of {path.name} have an empty prediction, which is wrong")
        return joiner.joined()
    for record in read_records(path):
        if "key" in record.value:
            joiner.add_own(record)
        else:
            _join_line(joiner, by_index, record)
    return joiner.joined()


def write_answers(
    table: Path,
    samples: Sequence[Sample],
    answers: Mapping[str, str],
    folder: Path,
    model_id: str,
) -> list[Path]:
    """Write LLaVA's lines and the workbook, rows in the table's order.

    A row without an answer has an empty prediction, as in LLaVA's workbooks.
    """
    columns = [name for name in read_columns(table) if name not in _DROPPED]
    options = letters_of(columns)
    order = ["index", "question", *options, "prediction", "answer", "split"]
    order = [name for name in order if name == "prediction" or name in columns]
    order += [name for name in columns if name not in order]
    rows: list[list[str | int | None]] = [list(order)]
    indices = []
    for row in read_rows(table):
        index = row_index(row.cells["index"], f"{table}, record {row.number}")
        indices.append(str(index))
        cells = row.cells | {"prediction": answers.get(str(index), "")}
        rows.append([index if name == "index" else cells[name] or None for name in order])
    workbook = folder / file_name(model_id, ".xlsx")
    write_sheet(workbook, rows)
    by_index = {sample.key: sample for sample in samples}
    lines = (
        llava_line(
            int(index),
            by_index[index].question,
            answers[index],
            model_id,
            {
                "options": list(by_index[index].meta["options"]),
                "option_char": options[: len(by_index[index].meta["options"])],
            },
            round_id=0,
        )
        for index in indices
        if index in answers and index in by_index
    )
    return [write_lines(folder / file_name(model_id, ".jsonl"), lines), workbook]


def _join_line(joiner: AnswerMatcher, by_index: Mapping[str, Sample], record: Record) -> None:
    index = record.id("question_id", "index")
    if index is None:
        raise DataError(
            f"{record.file}, {record.where} has no `question_id`: which row it answers could only "
            "be guessed from its position."
        )
    sample = by_index.get(index)
    where = record.where
    if record.value.get("round_id"):
        # Made with rotations on top of the table's own: a second answer to the same row.
        where += f", round {record.value['round_id']}"
    asked = bare(sample.meta["question"]) if sample else ""
    if sample is not None and record.prompt and asked and not asks(record.prompt, asked):
        joiner.mismatched(where)
    else:
        joiner.add(
            sample.key if sample else None, record.text("text", "prediction", "answer"), where
        )


def _join_row(
    joiner: AnswerMatcher, by_index: Mapping[str, Sample], where: str, cells: Mapping[str, str]
) -> None:
    index = str(row_index(cells["index"], f"{joiner.source}, {where}"))
    where = f"{where} (index {index})"
    sample = by_index.get(index)
    if sample is not None and _of_another(cells, sample):
        joiner.mismatched(where)
    else:
        joiner.add(sample.key if sample else None, cells["prediction"], where)


def _of_another(cells: Mapping[str, str], sample: Sample) -> bool:
    question, answer = cells.get("question", ""), cells.get("answer", "").strip()
    other_question = bool(question) and bare(question) != bare(sample.meta["question"])
    return other_question or bool(answer and sample.reference and answer != sample.reference)


def _table(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a name and the cells of each row that is not empty."""
    if path.suffix.lower() == ".tsv":
        _require(path, read_columns(path))
        for row in read_rows(path):
            yield f"record {row.number}", row.cells
        return
    xlsx = path.suffix.lower() == ".xlsx"
    rows = read_sheet(path) if xlsx else list(csv.reader(io.StringIO(read_text(path))))
    columns = rows[0] if rows else []
    _require(path, columns)
    for number, cells in enumerate(rows[1:], 2):
        if any(cells):
            filled = cells + [""] * (len(columns) - len(cells))
            yield f"row {number}", dict(zip(columns, filled, strict=False))


def _require(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in ("index", "prediction") if name not in columns]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}: found {', '.join(columns) or 'none'}.",
            "Expected a workbook as it is sent to MMBench, with a prediction for each index.",
        )
