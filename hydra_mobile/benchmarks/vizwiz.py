"""The benchmark VizWiz, validation split: what blind people asked about their photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra_mobile.benchmarks.base import DataFile
from hydra_mobile.benchmarks.items import LLAVA, SHORT_LINE, Item, Wording
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import read_objects
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow

_QUESTIONS = "val.json"
_UNANSWERABLE = (
    f"\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n{SHORT_LINE}"
)


class VizWiz(TableBenchmark):
    """Reads the official val.json with its images, VLMEvalKit's table, or the hub's parquet."""

    name = "vizwiz"
    title = "VizWiz"
    about = "what blind people asked about their photographs"
    primary = "VQA accuracy"
    also = "each type of answer"
    source = "https://vizwiz.org/tasks-and-datasets/vqa"
    licenses = MappingProxyType({"VizWiz": "CC BY 4.0"})
    folders = ("vizwiz", "VizWiz-VQA", "VizWiz")
    table = "VizWiz.tsv"
    split = "val"
    counts = (4319,)
    scored_by = "vqa"
    wordings = MappingProxyType({"lmms-eval": Wording(short=_UNANSWERABLE), "vlmevalkit": LLAVA})

    def tables(self) -> list[Path]:
        """Return the official file, else the tables; see `TableBenchmark.tables`."""
        found = self.places.find(_QUESTIONS) if self.places.file is None else None
        return [found] if found else super().tables()

    def files(self) -> list[DataFile]:
        """Return the official file, or the tables."""
        found = self.places.find(_QUESTIONS)
        if found is None:
            return super().files()
        count = sum(1 for _ in read_objects(found))
        return [
            DataFile(found, "questions", required=True, count=lambda: count, official=self.counts),
            DataFile(self.places.expected("val"), "images", required=False),
        ]

    def protocol_facts(self) -> dict[str, Any]:
        """Return the protocol; the official file is known by its name."""
        if self.places.find(_QUESTIONS) is None:
            return super().protocol_facts()
        return super(TableBenchmark, self).protocol_facts() | {"questions": _QUESTIONS}

    def items(self, split: str) -> Iterator[Item]:
        """Yield the questions of the official file, or of the tables."""
        found = self.places.find(_QUESTIONS)
        if found is None:
            yield from super().items(split)
            return
        folder = self.places.expected("val")
        for record in read_objects(found):
            row = TableRow(f"{found}, {record.where}", record.value, {})
            image = row.text("image")
            yield self._item(row, FilePicture(folder / image), Path(image).stem)

    def item(self, row: TableRow) -> Item:
        """Return the question of a table's record."""
        return self._item(row, row.picture(), row.text("question_id", "index", default=""))

    def _item(self, row: TableRow, image: Any, key: str) -> Item:
        question = row.text("question")
        return Item(
            # lmms-eval capitalizes, which lowers the rest of the question.
            question=question.capitalize() if self.protocol == "lmms-eval" else question,
            answers=row.texts("answers", "answer"),
            image=image,
            kind=row.text("answer_type", "category", default="all"),
            key=key,
        )
