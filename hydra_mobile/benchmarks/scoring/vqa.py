"""VQA accuracy: what an answer is worth by how many of ten people gave it.

Antol et al., "VQA" (ICCV 2015), and the evaluators of the VQA and VizWiz challenges: for each
person, min(1, matches among the others / 3); the answer's worth is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hydra_mobile.benchmarks.textvqa.m4c import in_words, without_punctuation


@lru_cache(maxsize=65536)
def normalized(answer: str) -> str:
    """Return an answer as the evaluators compare it.

    Line ends become spaces; punctuation is dropped or becomes a space; lower case; number words
    become digits; a, an and the are dropped; contractions get their apostrophe.
    """
    return in_words(without_punctuation(_flat(answer)))


def vqa(answer: str, given: Sequence[str]) -> float:
    """Return what an answer is worth, in [0, 1].

    The people's answers get the same treatment as the model's, as in lmms-eval and VLMEvalKit. The
    evaluator of 2015 only drops their punctuation, and that only where they are not all equal:
    the same for answers that are in lower case and without articles, as the released ones are.
    """
    said = normalized(answer)
    same = [normalized(one) == said for one in given]
    matches = sum(same)
    return sum(min(1.0, (matches - one) / 3) for one in same) / len(same) if same else 0.0


def _flat(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
