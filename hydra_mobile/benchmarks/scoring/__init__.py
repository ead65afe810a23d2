"""How one answer is scored, by name: each a published definition, in one place for all benchmarks.

Pure functions of strings. docs/benchmarks.md says which published evaluator each one equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra_mobile.benchmarks.scoring.anls import anls
from hydra_mobile.benchmarks.scoring.relaxed import relaxed
from hydra_mobile.benchmarks.scoring.texts import contains, contains_formula, exact, plain
from hydra_mobile.benchmarks.scoring.vqa import normalized, vqa
from hydra_mobile.benchmarks.scoring.yesno import read_yesno
from hydra_mobile.benchmarks.shared.choice_letters import read_option_vlmevalkit

__all__ = ["SCORES", "Scorer"]


@dataclass(frozen=True)
class Scorer:
    """One way of scoring.

    Attributes:
        title: for help texts and tables.
        credit: (answer, accepted answers) -> worth in [0, 1]; unused where `read` decides.
        read: (answer, options) -> what the answer says, "" for unreadable.
        by_reading: the credit is 1 where what was read is the first accepted answer, else 0.
        right_from: credits from here on count as right.
        asks: the form of the question: "choice", "yesno" or "short".
    """

    title: str
    credit: Callable[[str, Sequence[str]], float]
    read: Callable[[str, Sequence[str]], str]
    by_reading: bool = False
    right_from: float = 1.0
    asks: str = "short"


def _read_plain(answer: str, options: Sequence[str]) -> str:
    return plain(answer)


def _read_vqa(answer: str, options: Sequence[str]) -> str:
    return normalized(answer)


def _read_yesno(answer: str, options: Sequence[str]) -> str:
    return read_yesno(answer)


SCORES: dict[str, Scorer] = {
    "exact": Scorer("exact match", exact, _read_plain),
    "contains": Scorer("holds the answer", contains, _read_plain),
    "formula": Scorer("holds the formula", contains_formula, _read_plain),
    "anls": Scorer("ANLS, threshold 0.5", anls, _read_plain, right_from=0.5),
    "relaxed": Scorer("relaxed accuracy, 5%", relaxed, _read_plain),
    "vqa": Scorer("VQA accuracy of ten answers", vqa, _read_vqa, right_from=0.9),
    "choice": Scorer(
        "letter of the option", exact, read_option_vlmevalkit, by_reading=True, asks="choice"
    ),
    "yesno": Scorer("yes or no", exact, _read_yesno, by_reading=True, asks="yesno"),
}
