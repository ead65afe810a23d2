"""The benchmark SEED-Bench, its image part: choice questions in nine dimensions."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.items import Item
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark, lettered_item
from hydra_mobile.benchmarks.shared.tables import TableRow


class SEEDBench(TableBenchmark):
    """The questions about images; those about videos are left out."""

    name = "seedbench"
    title = "SEEDBench"
    about = "choice questions about images in nine dimensions"
    primary = "accuracy over the image part"
    also = "each dimension"
    source = "https://huggingface.co/datasets/lmms-lab/SEED-Bench"
    licenses = MappingProxyType({"SEED-Bench": "CC BY-NC 4.0"})
    folders = ("seedbench", "SEED-Bench", "SEEDBench")
    table = "SEEDBench_IMG.tsv"
    counts = (14232, 14233)

    def item(self, row: TableRow) -> Item | None:
        """Return the question; None for one about a video."""
        if row.text("data_type", default="image") != "image":
            return None
        if row.options():
            return lettered_item(row)
        options = tuple(row.text(f"choice_{letter}") for letter in "abcd")
        kind = row.text("question_type_id", default="all")
        return lettered_item(row, options=options, kind=f"type {kind}" if kind != "all" else kind)
