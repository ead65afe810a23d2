"""The benchmark RealWorldQA: questions about photographs, many taken from vehicles."""

from __future__ import annotations

import re
from types import MappingProxyType

from hydra_mobile.benchmarks.items import Item
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark, lettered_item
from hydra_mobile.benchmarks.shared.tables import TableRow

#: The hub's questions hold their options, one a line: "A. Left".
_OPTION = re.compile(r"^[A-Z]\. (.*)$", re.MULTILINE)


class RealWorldQA(TableBenchmark):
    """765 questions, most of them with options."""

    name = "realworldqa"
    title = "RealWorldQA"
    about = "questions about photographs, many from vehicles"
    primary = "accuracy"
    also = "with options, and with short answers"
    source = "https://huggingface.co/datasets/lmms-lab/RealWorldQA"
    licenses = MappingProxyType({"RealWorldQA": "CC BY-ND 4.0"})
    folders = ("realworldqa", "RealWorldQA")
    table = "RealWorldQA.tsv"
    counts = (765,)

    def item(self, row: TableRow) -> Item:
        """Return the question; those of the hub say themselves how they want to be answered."""
        if row.options():
            return lettered_item(row, kind="choice")
        question, answer = row.text("question").strip(), row.text("answer").strip()
        options = tuple(text.strip() for text in _OPTION.findall(question))
        if len(answer) == 1 and answer.isalpha() and len(options) > 1:
            return lettered_item(row, options=options, kind="choice", prompt=question)
        return Item(question, (answer,), row.picture(), "short", score="exact", prompt=question)
