"""The benchmark MMMU: questions of college courses in thirty subjects, validation split."""

from __future__ import annotations

import re
from types import MappingProxyType

from hydra_mobile.benchmarks.items import CHOICE_LINE, SHORT_LINE, VLMEVALKIT, Item, Wording
from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark, lettered_item
from hydra_mobile.benchmarks.shared.tables import TableRow

_SUBJECT = re.compile(r"^[a-z]+_(.+)_\d+$")


class MMMU(TableBenchmark):
    """900 questions; those about several images are left out, models here take one."""

    name = "mmmu"
    title = "MMMU"
    about = "questions of college courses in thirty subjects"
    primary = "accuracy over the questions about one image"
    also = "each subject"
    source = "https://huggingface.co/datasets/lmms-lab/MMMU"
    licenses = MappingProxyType({"MMMU": "Apache-2.0"})
    folders = ("mmmu", "MMMU")
    table = "MMMU_DEV_VAL.tsv"
    split = "validation"
    counts = (900, 1050)
    max_new_tokens = 128
    # lmms-eval leaves a line empty before what it asks for.
    wordings = MappingProxyType(
        {
            "lmms-eval": Wording(short=f"\n\n{SHORT_LINE}", choice=f"\n\n{CHOICE_LINE}"),
            "vlmevalkit": VLMEVALKIT,
        }
    )

    def item(self, row: TableRow) -> Item | None:
        """Return the question; None for one of `dev`, and for one about several images."""
        if row.text("split", default="validation") not in ("validation", "val"):
            return None
        pictures: list[Picture] = [x for each in row.pictures.values() for x in each]
        if len(pictures) > 1:
            return None
        image = pictures[0] if pictures else None
        found = _SUBJECT.match(row.text("id", default=""))
        kind = found[1] if found else row.text("category", default="all")
        options = row.texts("options") or row.options()
        if options:
            one = TableRow(row.where, row.cells, {"image": pictures})
            return lettered_item(one, options=options, kind=kind)
        key = row.text("index", "id", default="")
        return Item(row.text("question"), row.texts("answer"), image, kind, score="exact", key=key)

    def protocol_facts(self) -> dict[str, object]:
        """Return the protocol, and that questions about several images are left out."""
        return super().protocol_facts() | {"several_images": "left out"}
