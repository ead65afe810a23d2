"""Answers and timings of a bundle on a phone, in the process that `process` is for a runtime here.

Questions go to the device as one batch for each benchmark; each answer that comes in is appended
to the log that resume, shards and reports read. ANDROID_SERIAL names the device.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices.adb import chosen
from hydra_mobile.devices.app import FILES, AppLaunch
from hydra_mobile.devices.batch import Launch, RunnerLaunch, run_batch
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.devices.facts import facts_of
from hydra_mobile.devices.launch import install, push_bundle
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import with_reconnect
from hydra_mobile.devices.timing import time_on_device
from hydra_mobile.evaluation.store.prediction_log import PredictionLog
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.evaluation.store.work_dir import FACTS
from hydra_mobile.runtimes.answering import Prompted, fitted
from hydra_mobile.runtimes.speed import NEW_TOKENS, QUESTION, REPEATS, Speed


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """A bundle made ready on a device."""

    remote: Remote
    launch: Launch
    bundle: Bundle
    emulated: bool

    @classmethod
    def ready(cls, runner: str, folder: Path, threads: int = 0, *, cold: bool = False) -> OnDevice:
        """Push what is not there yet.

        Args:
            runner: "adb" for the native runner, "app" for the demo app.
            folder: the bundle here.
            threads: of the device; 0 leaves the choice to it.
            cold: the native runner drops the program from the page cache before it loads.

        Raises:
            HydraError: no device, several, or it cannot run the bundle.
        """
        bundle = Bundle.open(folder)
        remote = chosen()

        def put() -> OnDevice:
            facts = facts_of(remote)
            if runner == "app":
                place = push_bundle(remote, bundle, f"{FILES}/models", lambda *progress: None)
                app = AppLaunch(remote, place, Path(place).name, threads)
                return cls(remote, app, bundle, emulated=False)
            installed = install(remote, bundle, facts)
            command = f"{installed.command}{' --cold' if cold else ''}"
            launch = RunnerLaunch(remote, command, installed.digest, threads)
            return cls(remote, launch, bundle, installed.emulated)

        return with_reconnect(remote, put, _say)


def _say(text: str) -> None:
    """Into the worker's log, whose lines the evaluation shows."""
    print(text, flush=True)


def answer_batch(
    device: OnDevice,
    prompted: Sequence[Prompted],
    folder: Path,
    request: Mapping[str, Any],
    done: set[str],
    part: Shard,
) -> None:
    """Answer this part of a benchmark.

    Args:
        device: where.
        prompted: the questions of the part, by picture.
        folder: of the answers.
        request: what was requested of the benchmark, see `work_dir.request_of`.
        done: keys that are answered already.
        part: which questions these are.
    """
    processor = device.bundle.processor()
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
            log.add(line.untimed() if device.emulated else line)

    try:
        run_batch(
            device.remote,
            device.launch,
            batch,
            batch / f"answers-{device.launch.digest}.jsonl",
            on_answer=keep,
            say=_say,
        )
    finally:
        log.close()
    write_json(
        folder / f"worker-{part.number - 1}.json",
        {"image_fit": (own or processor.image).fit, "peak_memory_bytes": None},
    )


def measure_device(device: OnDevice, folder: Path) -> None:
    """Time the bundle on the device and write facts.json, the device's own facts in it."""
    with tempfile.TemporaryDirectory(prefix="timing-") as name:
        timed = time_on_device(
            device.remote,
            device.launch,
            device.bundle,
            Path(name),
            question=QUESTION,
            new_tokens=NEW_TOKENS,
            repeats=REPEATS,
            say=_say,
        )
    counts = not device.emulated
    session = timed.sessions[-1]
    write_json(
        folder / FACTS,
        {
            "load_seconds": session["load_seconds"] if counts else None,
            "threads": session["threads"],
            "precision": device.bundle.preset.name,
            "peak_memory_bytes": timed.peak_memory_bytes if counts else None,
            "speed": (Speed.of(timed.repeats) if counts else Speed()).to_dict(),
            "device": timed.device,
        },
    )
