"""The benchmark MMStar: choice questions that cannot be answered without their picture."""

from __future__ import annotations

import re
from types import MappingProxyType

from hydra_mobile.benchmarks.items import Item
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark, lettered_item
from hydra_mobile.benchmarks.shared.tables import TableRow

#: The hub's table has the options in the question: "Options: A: a bus, B: a tram, ...".
_OPTIONS = re.compile(r"\bOptions:\s*A: (.*?),?\s+B: (.*?),?\s+C: (.*?),?\s+D: (.*)", re.DOTALL)
_SUFFIX = "\nAnswer with the option's letter from the given choices directly."


class MMStar(TableBenchmark):
    """1,500 questions in six abilities, four options each."""

    name = "mmstar"
    title = "MMStar"
    about = "choice questions that need their image, in six abilities"
    primary = "accuracy"
    also = "each ability"
    source = "https://huggingface.co/datasets/Lin-Chen/MMStar"
    licenses = MappingProxyType({"MMStar": "see its release"})
    folders = ("mmstar", "MMStar")
    table = "MMStar.tsv"
    split = "val"
    counts = (1500,)

    def item(self, row: TableRow) -> Item:
        """Return the question; options come from the columns A to D, or from its text."""
        if row.options():
            return lettered_item(row)
        found = _OPTIONS.search(row.text("question"))
        if found is None:
            raise row.wrong("a question without options", "columns A to D, or `Options: A: ...`")
        options = tuple(text.strip() for text in found.groups())
        # lmms-eval leaves the question as it is.
        prompt = row.text("question").strip() + _SUFFIX if self.protocol == "lmms-eval" else ""
        question = row.text("question")[: found.start()].strip()
        return lettered_item(row, options=options, question=question, prompt=prompt)
