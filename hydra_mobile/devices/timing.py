"""Times a bundle on a device by the device's own clock: fixed prompt, fixed length, repeats.

The questions are a batch like any other. Each repeat has a picture key of its own, so that every
one encodes the picture; the first ones are the warm-up and are left out.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices.batch import Launch, run_batch
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.devices.facts import facts_of
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import Say, with_reconnect
from hydra_mobile.devices.thermal import wait_until_cool


@dataclass(frozen=True)
class Timed:
    """What a device measured.

    Attributes:
        sessions: what the runner said of itself at each start: load_seconds, threads, machine.
        repeats: an answer for each repeat, warm-up left out.
        device: facts before and after, and what came of the wait for a cool device.
    """

    sessions: list[dict[str, Any]]
    repeats: list[AnswerLine]
    device: dict[str, Any]

    @property
    def peak_memory_bytes(self) -> int:
        """Highest peak of the process on the device."""
        return max(line.peak_memory_bytes or 0 for line in self.repeats)


def time_on_device(
    remote: Remote,
    launch: Launch,
    bundle: Bundle,
    folder: Path,
    *,
    question: str,
    new_tokens: int,
    repeats: int,
    warmup: int = 1,
    say: Say = lambda text: None,
) -> Timed:
    """Time a bundle; see `run_batch` for what it raises.

    Args:
        remote: the device.
        launch: starts the bundle there.
        bundle: the same bundle here, for its template.
        folder: for the questions and answers, new for each timing.
        question: the prompt without its template.
        new_tokens: of each answer; an end of the answer is not heeded.
        repeats: measured answers.
        warmup: answers before them.
        say: receives a line for each wait.
    """
    processor = bundle.processor()
    side = processor.image.size
    picture = Image.new("RGB", (side, side), (90, 140, 60))
    asks = [
        Ask(f"timing-{n}", question, lambda: picture, f"{folder.name}-{n}", new_tokens, stop=False)
        for n in range(warmup + repeats)
    ]
    write_requests(folder, asks, processor)
    cooled = with_reconnect(remote, lambda: wait_until_cool(remote, say), say)
    before = with_reconnect(remote, lambda: facts_of(remote), say)
    run_batch(remote, launch, folder, folder / "answers.jsonl", say=say)
    after = with_reconnect(remote, lambda: facts_of(remote), say)
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    answers = [AnswerLine.from_device(line) for line in lines if "id" in line]
    return Timed(
        [line["session"] for line in lines if "session" in line],
        list(itertools.islice(answers, warmup, None)),
        {"before": before.to_dict(), "after": after.to_dict(), "cooling": cooled.to_dict()},
    )
