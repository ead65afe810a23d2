"""The benchmark VQAv2, validation split: short answers that ten people gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from hydra_mobile.benchmarks.base import DataFile
from hydra_mobile.benchmarks.items import LLAVA, Item, Wording
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import read_json_file
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow
from hydra_mobile.core.errors import DataError

_QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
_ANSWERS = "v2_mscoco_val2014_annotations.json"


class VQAv2(TableBenchmark):
    """Reads the official JSON files with COCO's images, or the hub's parquet files."""

    name = "vqav2"
    title = "VQAv2"
    about = "short answers about photographs"
    primary = "VQA accuracy"
    also = "yes/no, number and other answers"
    source = "https://visualqa.org/download.html"
    licenses = MappingProxyType({"VQAv2": "CC BY 4.0", "COCO images": "Flickr terms of use"})
    folders = ("vqav2", "VQAv2")
    table = _QUESTIONS
    split = "validation"
    scored_by = "vqa"
    wordings = MappingProxyType[str, Wording]({"lmms-eval": LLAVA})

    def tables(self) -> list[Path]:
        """Return the official questions, else the tables; see `TableBenchmark.tables`."""
        found = self.places.find(_QUESTIONS) if self.places.file is None else None
        return [found] if found else super().tables()

    def files(self) -> list[DataFile]:
        """Return the official files, or the tables."""
        if self.places.find(_QUESTIONS) is None:
            return super().files()
        return [
            DataFile(self.places.expected(_QUESTIONS), "questions", required=True),
            DataFile(self.places.expected(_ANSWERS), "ten answers each", required=True),
            DataFile(self.places.expected("val2014"), "images", required=False),
        ]

    def protocol_facts(self) -> dict[str, object]:
        """Return the protocol; the official files are known by their names."""
        if self.places.find(_QUESTIONS) is None:
            return super().protocol_facts()
        return super(TableBenchmark, self).protocol_facts() | {"questions": _QUESTIONS}

    def items(self, split: str) -> Iterator[Item]:
        """Yield the questions of the official files, or of the tables."""
        questions = self.places.find(_QUESTIONS)
        if questions is None:
            yield from super().items(split)
            return
        folder = self.places.expected("val2014")
        truths = self._truths()
        for entry in read_json_file(questions)["questions"]:
            number = entry["question_id"]
            if number not in truths:
                raise DataError(
                    f"question {number} has no answers",
                    "Download both files again: they are of one release.",
                    where=str(self.places.expected(_ANSWERS)),
                )
            kind, given = truths[number]
            image = FilePicture(folder / f"COCO_val2014_{entry['image_id']:012d}.jpg")
            yield Item(entry["question"], given, image, kind, key=str(number))

    def item(self, row: TableRow) -> Item:
        """Return the question of a parquet file's record."""
        return Item(
            question=row.text("question"),
            answers=row.texts("answers", "answer"),
            image=row.picture(),
            kind=row.text("answer_type", default="all"),
            key=row.text("question_id", "index", default=""),
        )

    def _truths(self) -> dict[int, tuple[str, tuple[str, ...]]]:
        path = self.places.require(_ANSWERS, what="ten answers to each question")
        return {
            entry["question_id"]: (
                entry.get("answer_type", "all"),
                tuple(each["answer"] for each in entry["answers"]),
            )
            for entry in read_json_file(path)["annotations"]
        }
