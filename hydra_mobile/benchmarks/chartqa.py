"""The benchmark ChartQA: questions about charts, numbers within 5 percent."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import LLAVA, Item, Wording
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow


class ChartQA(TableBenchmark):
    """The test split, 1,250 questions by people and 1,250 made from tables."""

    name = "chartqa"
    title = "ChartQA"
    about = "questions about charts"
    primary = "relaxed accuracy"
    also = "questions by people, and made ones"
    source = "https://huggingface.co/datasets/lmms-lab/ChartQA"
    licenses = MappingProxyType({"ChartQA": "GPL-3.0"})
    folders = ("chartqa", "ChartQA")
    table = "ChartQA_TEST.tsv"
    counts = (2500,)
    scored_by = "relaxed"
    wordings = MappingProxyType(
        {
            "lmms-eval": Wording(short="\nAnswer the question with a single word."),
            "vlmevalkit": LLAVA,
        }
    )

    def item(self, row: TableRow) -> Item:
        """Return the question; its kind is "human" or "augmented"."""
        kind = row.text("type", "split", "human_or_machine", default="all")
        kinds = {"0": "human", "1": "augmented"}
        named = next((name for name in kinds.values() if name in kind), kinds.get(kind, kind))
        return Item(
            question=row.text("question", "query"),
            answers=row.texts("answer", "label"),
            image=row.picture(),
            kind=named,
            key=row.text("index", default=""),
        )
