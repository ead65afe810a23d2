"""The benchmark InfoVQA: short answers that are read in infographics."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import LLAVA, Item, Wording
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow


class InfoVQA(TableBenchmark):
    """The validation split: infographics, 2,801 questions."""

    name = "infovqa"
    title = "InfoVQA"
    about = "short answers that are read in infographics"
    primary = "ANLS, threshold 0.5"
    source = "https://huggingface.co/datasets/lmms-lab/DocVQA"
    licenses = MappingProxyType({"InfoVQA": "research, see rrc.cvc.uab.es"})
    folders = ("infovqa", "DocVQA/InfographicVQA", "InfographicVQA")
    table = "InfoVQA_VAL.tsv"
    split = "validation"
    counts = (2801,)
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
