"""The benchmark OCRBench: reading text, scenes, documents, forms and formulas."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import AS_WRITTEN, Item
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow

_FORMULAS = "Handwritten Mathematical Expression Recognition"


class OCRBench(TableBenchmark):
    """1,000 questions of ten kinds; the published score is out of 1,000."""

    name = "ocrbench"
    title = "OCRBench"
    about = "reading text, scenes, documents, forms and formulas"
    primary = "share of answers that hold the right text; published as points of 1,000"
    also = "each of ten kinds"
    source = "https://huggingface.co/datasets/echo840/OCRBench"
    licenses = MappingProxyType({"OCRBench": "see its release"})
    folders = ("ocrbench", "OCRBench")
    table = "OCRBench.tsv"
    counts = (1000,)
    scored_by = "contains"
    max_new_tokens = 128
    wordings = MappingProxyType({"lmms-eval": AS_WRITTEN, "vlmevalkit": AS_WRITTEN})

    def item(self, row: TableRow) -> Item:
        """Return the question; formulas are compared without spaces, all else in lower case."""
        kind = row.text("question_type", "category")
        formula = kind == _FORMULAS or row.text("dataset", default="") == "HME100k"
        return Item(
            question=row.text("question").strip(),
            answers=row.texts("answer"),
            image=row.picture(),
            kind=kind,
            score="formula" if formula else "contains",
            key=row.text("index", default=""),
        )
