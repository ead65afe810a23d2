"""The benchmark InfoVQA: short answers that are read in infographics."""

from __future__ import annotations

from types import MappingProxyType

from hydra_mobile.benchmarks.docvqa import DocVQA


class InfoVQA(DocVQA):
    """The validation split: infographics, 2,801 questions; asked and scored as DocVQA is."""

    name = "infovqa"
    title = "InfoVQA"
    about = "short answers that are read in infographics"
    licenses = MappingProxyType({"InfoVQA": "research, see rrc.cvc.uab.es"})
    folders = ("infovqa", "DocVQA/InfographicVQA", "InfographicVQA")
    table = "InfoVQA_VAL.tsv"
    counts = (2801,)
