"""The benchmark HallusionBench: pairs of yes-or-no questions about true and altered figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from hydra_mobile.benchmarks.base import Metric, Sample, check_complete
from hydra_mobile.benchmarks.items import AS_WRITTEN, Item
from hydra_mobile.benchmarks.metric import divided
from hydra_mobile.benchmarks.shared.statistics import Floats
from hydra_mobile.benchmarks.shared.table_benchmark import TableBenchmark
from hydra_mobile.benchmarks.shared.tables import TableRow


def _share(place: int) -> Callable[[Floats], Floats]:
    return lambda sums: divided(sums[..., 2 * place], sums[..., 2 * place + 1])


def _mean(sums: Floats) -> Floats:
    aacc, facc, qacc = (_share(place)(sums) for place in range(3))
    return (aacc + facc + qacc) / 3


class HallusionBench(TableBenchmark):
    """Right answers, figures with all questions right, and questions right for all figures."""

    name = "hallusionbench"
    title = "HallusionBench"
    about = "yes-or-no questions about true and altered figures"
    primary = "mean of aAcc, fAcc and qAcc"
    also = "aAcc: questions; fAcc: figures; qAcc: questions over their figures"
    source = "https://huggingface.co/datasets/lmms-lab/HallusionBench"
    licenses = MappingProxyType({"HallusionBench": "BSD-3-Clause"})
    folders = ("hallusionbench", "HallusionBench")
    table = "HallusionBench.tsv"
    split = "image"
    counts = (951,)
    scored_by = "yesno"
    max_new_tokens = 128
    wordings = MappingProxyType({"lmms-eval": AS_WRITTEN, "vlmevalkit": AS_WRITTEN})

    def item(self, row: TableRow) -> Item:
        """Return the question; its key is CATEGORY_SUBCATEGORY_SET_FIGURE_QUESTION."""
        key = row.text("index", default="")
        if not key:
            parts = ("category", "subcategory", "set_id", "figure_id", "question_id")
            key = "_".join(row.text(part) for part in parts)
        if len(key.split("_")) < 5:
            raise row.wrong(f"index {key!r}", "CATEGORY_SUBCATEGORY_SET_FIGURE_QUESTION")
        answer = {"1": "yes", "0": "no"}.get(truth := row.text("gt_answer", "answer"), truth)
        if answer.lower() not in ("yes", "no"):
            raise row.wrong(f"answer {truth!r}", "yes or no")
        *subject, _, _ = key.split("_")
        return Item(
            question=row.text("question"),
            answers=(answer,),
            image=row.picture(),
            kind="_".join(subject[:-1]),
            key=key,
            # Figures and pairs of questions are whole within a set.
            group="_".join(subject),
        )

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        """Return the mean of the three shares, and each of them."""
        answered = check_complete(samples, answers, partial)
        right = np.array([self.credit(sample, answers[sample.key]) for sample in answered])
        names = [sample.key.split("_") for sample in answered]
        figures = ["_".join(name[:-1]) for name in names]
        pairs = ["_".join([*name[:-2], name[-1]]) for name in names]
        groups = ([sample.key for sample in answered], figures, pairs)
        terms = np.concatenate([_all_right(group, right) for group in groups], axis=1)
        clusters = [sample.cluster for sample in answered]
        unread = sum(not self.parse(sample, answers[sample.key]) for sample in answered)
        kinds = {"all": _mean, "aAcc": _share(0), "fAcc": _share(1), "qAcc": _share(2)}
        return [
            Metric(
                self.split,
                kind,
                terms,
                clusters,
                combine=combine,
                headline=kind == "all",
                unread=unread,
            )
            for kind, combine in kinds.items()
        ]


def _all_right(labels: Sequence[str], right: Floats) -> Floats:
    """Return float64 [n, 2]: at the first of each label, 1 where all are right, and 1 to count."""
    least: dict[str, float] = {}
    for label, value in zip(labels, right, strict=True):
        least[label] = min(least.get(label, 1.0), float(value))
    terms = np.zeros((len(labels), 2))
    for label, value in least.items():
        terms[labels.index(label)] = (value, 1.0)
    return terms
