"""The names of scores, for help texts: nothing heavy is imported here."""

from __future__ import annotations

#: Name -> what it counts; `hydra_mobile.benchmarks.scoring.SCORES` has a scorer for each.
SCORE_NAMES: dict[str, str] = {
    "exact": "equal to an accepted answer, but for case and marks around it",
    "contains": "holds an accepted answer",
    "formula": "holds an accepted formula; case counts, spaces do not",
    "anls": "similarity to the nearest accepted answer, 0 below one half",
    "relaxed": "a number within 5%, or an equal text",
    "vqa": "by how many of several people gave the answer",
    "choice": "the letter of the right option",
    "yesno": "yes or no",
}
