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
    "mmstar": "hydra_mobile.benchmarks.mmstar:MMStar",
    "ai2d": "hydra_mobile.benchmarks.ai2d:AI2D",
    "chartqa": "hydra_mobile.benchmarks.chartqa:ChartQA",
    "docvqa": "hydra_mobile.benchmarks.docvqa:DocVQA",
    "infovqa": "hydra_mobile.benchmarks.infovqa:InfoVQA",
    "ocrbench": "hydra_mobile.benchmarks.ocrbench:OCRBench",
    "realworldqa": "hydra_mobile.benchmarks.realworldqa:RealWorldQA",
    "mmmu": "hydra_mobile.benchmarks.mmmu:MMMU",
    "vqav2": "hydra_mobile.benchmarks.vqav2:VQAv2",
    "vizwiz": "hydra_mobile.benchmarks.vizwiz:VizWiz",
    "hallusionbench": "hydra_mobile.benchmarks.hallusionbench:HallusionBench",
    "seedbench": "hydra_mobile.benchmarks.seedbench:SEEDBench",
}

#: Finds the benchmark of a name that is not listed: a file, a class, or a package's.
FINDERS = {"own": "hydra_mobile.benchmarks.own.find:found"}
