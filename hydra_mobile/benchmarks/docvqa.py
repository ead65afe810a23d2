"""The benchmark DocVQA: short answers that are read in pages of documents."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import LLAVA, Item, Wording
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow


class DocVQA(TableBenchmark):
    """The validation split: industry documents, 5,349 questions."""

    name = "docvqa"
    title = "DocVQA"
    about = "short answers that are read in pages of documents"
    primary = "ANLS, threshold 0.5"
    source = "https://huggingface.co/datasets/lmms-lab/DocVQA"
    licenses = MappingProxyType({"DocVQA": "research, see rrc.cvc.uab.es"})
    folders = ("docvqa", "DocVQA/DocVQA", "DocVQA")
    table = "DocVQA_VAL.tsv"
    split = "validation"
    counts = (5349,)
    scored_by = "anls"
    max_new_tokens = 32
    wordings = MappingProxyType[str, Wording]({"lmms-eval": LLAVA, "vlmevalkit": LLAVA})

    def item(self, row: TableRow) -> Item:
        """Return the question with all accepted answers."""
        return Item(
            question=row.text("question"),
            answers=row.texts("answers", "answer"),
            image=row.picture(),
            key=row.text("index", "questionId", default=""),
        )
