"""Benchmarks by name. One file each: where the questions are, how answers are read and scored."""

from __future__ import annotations

BENCHMARKS = {
    "emojiqa": "hydra_mobile.evaluation.benchmarks.emojiqa:EmojiQA",
}
