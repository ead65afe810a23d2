"""Yes or no, as VLMEvalKit reads it: the word that is there while the other is not."""

from __future__ import annotations

from hydra_mobile.benchmarks.textvqa.m4c import without_punctuation


def read_yesno(answer: str) -> str:
    """Return "yes" or "no", or "" where neither word or both are among the answer's words.

    The benchmark POPE has a rule of its own, which never fails.
    """
    words = set(without_punctuation(answer.lower()).split())
    said = words & {"yes", "no"}
    return said.pop() if len(said) == 1 else ""
