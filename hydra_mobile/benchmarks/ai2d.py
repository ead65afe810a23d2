"""The benchmark AI2D: choice questions about the diagrams of school books."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import Item
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark, lettered_item
from hydra_mobile.benchmarks.shared.tables import TableRow


class AI2D(TableBenchmark):
    """The test split, 3,088 questions; the regions' names are not masked."""

    name = "ai2d"
    title = "AI2D"
    about = "choice questions about diagrams of school books"
    primary = "accuracy"
    source = "https://huggingface.co/datasets/lmms-lab/ai2d"
    licenses = MappingProxyType({"AI2D": "CC BY-SA 4.0"})
    table = "AI2D_TEST.tsv"
    counts = (3088,)

    def item(self, row: TableRow) -> Item:
        """Return the question; the hub's table numbers its options from 0."""
        options = row.texts("options")
        if not options:
            return lettered_item(row)
        number = row.text("answer")
        if not number.isdecimal() or int(number) >= len(options):
            raise row.wrong(f"answer {number!r}", f"a number below {len(options)}")
        return Item(
            question=row.text("question"),
            answers=("ABCDEFGHIJ"[int(number)],),
            image=row.picture(),
            options=options,
            score="choice",
        )
