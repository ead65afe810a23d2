"""Questions to the app's code in a JVM, and what it says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from android_demo.tools.desktop import benchmark
from android_demo.tools.vector_bundle import made_picture
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests


def app_answers(
    bundle: Path, questions: Sequence[str], most: int, folder: Path
) -> tuple[list[Ask], list[dict[str, Any]]]:
    """Ask each question of two pictures, and the first without one; return asks and lines.

    Args:
        bundle: its folder.
        questions: all but the first are further questions about a picture.
        most: tokens of every answer; its end is not heeded.
        folder: for requests and answers.
    """
    asks = [
        Ask(f"{seed} {question}", question, lambda s=seed: made_picture(s), str(seed), most, False)
        for seed in range(2)
        for question in questions
    ]
    asks.append(Ask("text", questions[0], max_new_tokens=most, stop=False))
    write_requests(folder, asks, Bundle.open(bundle).processor())
    answers = folder / "answers.jsonl"
    benchmark.run_benchmark(bundle, folder / REQUESTS, answers, threads=1)
    return asks, [json.loads(line) for line in answers.read_text().splitlines()]
