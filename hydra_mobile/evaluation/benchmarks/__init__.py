"""Benchmarks by name. One file each: where the questions are, how answers are read and scored."""

from __future__ import annotations

BENCHMARKS = {
    "emojiqa": "hydra_mobile.evaluation.benchmarks.emojiqa:EmojiQA",
    "pope": "hydra_mobile.evaluation.benchmarks.pope:Pope",
    "mme": "hydra_mobile.evaluation.benchmarks.mme:Mme",
    "gqa": "hydra_mobile.evaluation.benchmarks.gqa:Gqa",
    "mmbench": "hydra_mobile.evaluation.benchmarks.mmbench:MMBench",
    "scienceqa": "hydra_mobile.evaluation.benchmarks.scienceqa:ScienceQA",
    "textvqa": "hydra_mobile.evaluation.benchmarks.textvqa:TextVQA",
}
