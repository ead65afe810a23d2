"""Benchmarks by name. One file each: where the questions are, how answers are read and scored."""

from __future__ import annotations

BENCHMARKS = {
    "emojiqa": "hydra_mobile.benchmarks.emojiqa:EmojiQA",
    "pope": "hydra_mobile.benchmarks.pope.benchmark:Pope",
    "mme": "hydra_mobile.benchmarks.mme.benchmark:Mme",
    "gqa": "hydra_mobile.benchmarks.gqa.benchmark:Gqa",
    "mmbench": "hydra_mobile.benchmarks.mmbench.benchmark:MMBench",
    "scienceqa": "hydra_mobile.benchmarks.scienceqa.benchmark:ScienceQA",
    "textvqa": "hydra_mobile.benchmarks.textvqa.benchmark:TextVQA",
}

#: Finds the benchmark of a name that is not listed: a file, a class, or a package's.
FINDERS = {"own": "hydra_mobile.benchmarks.own.find:found"}
