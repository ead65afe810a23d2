"""Answers and timings of a bundle on a phone, in the process that `process` is for a runtime here.

Questions go to the device as one batch for each benchmark; each answer that comes in is appended
to the log that resume, shards and reports read. ANDROID_SERIAL names the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.pictures import TURNED
from hydra_mobile.core.files import write_json
from hydra_mobile.core.integrity import sealed
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.devices.device import BatchSession
from hydra_mobile.evaluation.store.prediction_log import PredictionLog
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.evaluation.store.work_dir import FACTS
from hydra_mobile.runtimes.answering import Prompted, fitted
from hydra_mobile.runtimes.speed import NEW_TOKENS, QUESTION, REPEATS, Speed


def say(text: str) -> None:
    """Print a line into the worker's log, which the evaluation shows."""
    print(text, flush=True)


def answer_batch(
    session: BatchSession,
    prompted: Sequence[Prompted],
    folder: Path,
    request: Mapping[str, Any],
    done: set[str],
    part: Shard,
) -> None:
    """Answer this part of a benchmark.

    Args:
        session: the bundle on the device.
        prompted: the questions of the part, by picture.
        folder: of the answers.
        request: what was requested of the benchmark, see `work_dir.request_of`.
        done: keys that are answered already.
        part: which questions these are.
    """
    processor = session.bundle.processor()
    own = fitted(processor.image, request["image_fit"])
    batch = folder / f"device-{part.number - 1}"
    places = {each.question.key: each.question.index for each in prompted}
    asks = [
        Ask(
            each.question.key,
            each.question.text,
            each.question.image.open if each.question.image else None,
            each.question.image.key if each.question.image else "",
            request["max_new_tokens"],
            prompt=each.prompt,
            turn=TURNED,
        )
        for each in prompted
    ]
    write_requests(batch, asks, processor, own)
    log = PredictionLog(folder).append(part.number - 1)

    def keep(line: AnswerLine) -> None:
        if line.key not in done:
            done.add(line.key)
            # The text by the bundle's own tokenizer, whatever the device has.
            text = processor.decode(list(line.ids))
            line = dataclasses.replace(line, index=places[line.key], text=text)
            log.add(line.untimed() if session.emulated else line)

    try:
        session.answer(batch, keep, say)
    finally:
        log.close()
    write_json(
        folder / f"worker-{part.number - 1}.json",
        {"image_fit": (own or processor.image).fit, "peak_memory_bytes": None},
    )


def measure_device(session: BatchSession, folder: Path) -> None:
    """Time the bundle on the device and write facts.json, the device's own facts in it."""
    with working_folder("timing") as work:
        timed = session.time(
            work,
            question=QUESTION,
            new_tokens=NEW_TOKENS,
            repeats=REPEATS,
            warmup=1,
            say=say,
        )
    counts = not session.emulated
    started = timed.sessions[-1]
    write_json(
        folder / FACTS,
        sealed(
            {
                "load_seconds": started["load_seconds"] if counts else None,
                "threads": started["threads"],
                "precision": session.bundle.preset.name,
                "peak_memory_bytes": timed.peak_memory_bytes if counts else None,
                "speed": (Speed.of(timed.repeats) if counts else Speed()).to_dict(),
                "device": timed.device,
            }
        ),
    )
