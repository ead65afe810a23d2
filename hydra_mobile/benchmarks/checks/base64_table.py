"""A benchmark as one file: a table separated by tabs, pictures as base64 text in its cells.

The layout that VLMEvalKit and MMBench's tools read: index, question, hint, A, B, ..., answer,
category, image, image_path and what else the benchmark has. Rows are written one by one, so that
memory stays flat.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.benchmarks.shared.tab_separated import write_rows
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.models.pictures import check_header

#: In this order where the benchmark has them; columns that are in no row are left out.
_ORDER = (
    *("index", "question", "hint", *ascii_uppercase, "answer", "category", "image", "image_path"),
    *("source", "l2-category", "comment", "split"),
)
_ALWAYS = ("index", "question", "image")
#: A shorter cell is an index to those who read the tables; no picture's text is so short.
_SHORTEST_PICTURE = 64


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes:
        cells: column -> text, `index` among them; `image` is made of the pictures.
        pictures: none, one, or several, which become a JSON list.
    """

    cells: Mapping[str, str]
    pictures: Sequence[Picture] = ()


def rows_of(benchmark: Benchmark, samples: Sequence[Sample]) -> list[TableRow]:
    """Return samples as rows, in their order.

    The index is the benchmark's own number of a question; where its keys are no numbers (POPE,
    MME), the place, from 1 on.

    Raises:
        DataError: two samples have one number.
    """
    numbered = all(sample.key.isdecimal() for sample in samples)
    if numbered and len({sample.key for sample in samples}) < len(samples):
        raise DataError(
            f"Some questions of {benchmark.name} are in several of the splits, and a table has one "
            "row for an index.",
            "Write a table for each: --splits NAME",
        )
    return [
        TableRow(
            {"index": sample.key if numbered else str(place), **benchmark.table_cells(sample)},
            () if sample.image is None else (sample.image,),
        )
        for place, sample in enumerate(samples, 1)
    ]


def write_table(
    path: Path,
    rows: Sequence[TableRow],
    *,
    share: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Write a table, atomically, in the memory of one row's pictures.

    Args:
        path: the table.
        rows: in order.
        share: write a picture once; later rows that have it hold the index of the first.
        progress: called with rows done, rows in all, and what they are.

    Returns:
        The number of rows without a picture.

    Raises:
        DataError: there are no rows, or a picture is missing or is none; names its file.
    """
    if not rows:
        raise DataError(f"There are no questions to write to {path}.")
    found = dict.fromkeys(name for row in rows for name, text in row.cells.items() if text)
    names = {*_ALWAYS, *found}
    columns = [name for name in _ORDER if name in names]
    columns += [name for name in found if name not in _ORDER]
    write_rows(path, columns, _written(rows, share, progress))
    return sum(not row.pictures for row in rows)


def _written(
    rows: Iterable[TableRow], share: bool, progress: Callable[[int, int, str], None] | None
) -> Iterator[dict[str, str]]:
    everything = list(rows)
    holders: dict[tuple[str, ...], str] = {}
    for done, row in enumerate(everything, 1):
        keys, index = tuple(picture.key for picture in row.pictures), row.cells["index"]
        if share and keys in holders:
            yield {**row.cells, "image": holders[keys]}
        else:
            cell = _encoded_cell(row.pictures)
            if len(cell) > _SHORTEST_PICTURE:
                holders[keys] = index
            yield {**row.cells, "image": cell}
        if progress is not None:
            progress(done, len(everything), "rows")


def _encoded_cell(pictures: Sequence[Picture]) -> str:
    """Return the base64 text of a row's picture, or a JSON list of several.

    The files' own bytes are kept, so that no pixel changes.
    """
    texts = [_encoded(picture) for picture in pictures]
    if len(texts) > 1:
        return dumps(texts)
    return texts[0] if texts else ""


def _encoded(picture: Picture) -> str:
    content = picture.content()
    try:
        # Only the header: pixels are not decoded to write a table of thousands.
        check_header(content, picture.key)
    except DataError as error:
        raise DataError(error.what, "Download the file again.") from error
    return base64.b64encode(content).decode("ascii")
