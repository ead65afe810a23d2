"""A benchmark that is published as one table: which file, and what a record of it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from hydra_mobile.benchmarks.base import DataFile
from hydra_mobile.benchmarks.items import LLAVA, VLMEVALKIT, Item, ItemBenchmark, Wording
from hydra_mobile.benchmarks.shared.tables import TableRow, count_of, read_table
from hydra_mobile.core.errors import DataError

#: How most benchmarks of this kind are asked: by lmms-eval, and by VLMEvalKit.
BOTH: Mapping[str, Wording] = MappingProxyType({"lmms-eval": LLAVA, "vlmevalkit": VLMEVALKIT})


class TableBenchmark(ItemBenchmark):
    """Reads `table` (VLMEvalKit's tsv) or parquet files of the hub, whose names begin as `split`.

    Both are looked for in the benchmark's folder, parquet in its subfolders too. Where tables of
    other benchmarks lie in the folder above, they are left alone.
    """

    wordings = BOTH
    #: The name of VLMEvalKit's table.
    table: ClassVar[str]
    #: The split, and how names of its parquet files begin.
    split: ClassVar[str] = "test"
    #: How many records the official releases have.
    counts: ClassVar[tuple[int, ...]] = ()

    def splits(self) -> Sequence[str]:
        """Return the one split, whose table has to be there."""
        self.tables()
        return (self.split,)

    def tables(self) -> list[Path]:
        """Return the table, or the parquet files.

        Raises:
            DataError: there is neither.
        """
        if self.places.file is not None:
            return [self.places.file]
        tsv = self.places.find(self.table)
        if tsv is not None:
            return [tsv]
        for folder in self.places.folders:
            # Of other folders the files may be another benchmark's.
            own = folder.name in {Path(name).name for name in self.places.names}
            for inside in ("", "data/", "*/") if own else ("", "data/"):
                if found := sorted(folder.glob(f"{inside}{self.split}*.parquet")):
                    return found
        raise DataError(
            f"{self.title}: neither {self.table} nor {self.split}*.parquet is there",
            [
                f"Put one or the other into the folder {self.name}.",
                f"Get the data: {self.source}",
            ],
            where=", ".join(str(folder) for folder in self.places.folders),
        )

    def files(self) -> list[DataFile]:
        """Return the tables."""
        try:
            found = self.tables()
        except DataError:
            found = [self.places.expected(self.table)]
        counts = self.counts if len(found) == 1 else ()
        return [
            DataFile(
                path,
                "questions, answers and images",
                required=True,
                count=lambda path=path: count_of(path),  # type: ignore[misc]
                official=counts,
            )
            for path in found
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol and the tables that were read."""
        names = {path.name: count_of(path) for path in self.tables()}
        return super().protocol_facts() | {"files": names}

    def items(self, split: str) -> Iterator[Item]:
        """Yield what `item` makes of each record."""
        for path in self.tables():
            for row in read_table(path):
                item = self.item(row)
                if item is not None:
                    yield item

    @abstractmethod
    def item(self, row: TableRow) -> Item | None:
        """Return the question of a record; None for one that is no question of this benchmark.

        Raises:
            DataError: the record lacks what it needs; names it.
        """


def lettered_item(row: TableRow, **more: Any) -> Item:
    """Return a multiple-choice question of a table with the columns A, B, ..., `answer`.

    Raises:
        DataError: the record has no options, or its answer names none of them.
    """
    options = more.pop("options", ()) or row.options()
    answer = row.text("answer", default="").strip()
    letters = [chr(ord("A") + number) for number in range(len(options))]
    if len(options) < 2 or (answer and answer.upper() not in letters):
        raise row.wrong(
            f"answer {answer!r} to {len(options)} options", "two or more options and the letter"
        )
    return Item(
        question=more.pop("question", None) or row.text("question"),
        answers=(answer.upper(),) if answer else (),
        image=row.picture(),
        kind=more.pop("kind", None) or row.text("category", "l2_category", default="all"),
        options=options,
        score="choice",
        key=row.text("index", "id", "question_id", default=""),
        hint=row.text("hint", default=""),
        **more,
    )
