"""The answering and measuring process of a bundle on a phone: what `worker` is for a runtime here.

Questions go to the device as one batch for each benchmark; each answer that comes in is appended
to the log that resume, shards and reports read. Started by `worker` for artifacts whose runner is
`adb` or `app`; the device is the one that ANDROID_SERIAL names.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.devices.adb import chosen
from hydra_mobile.devices.app import FILES, AppLaunch
from hydra_mobile.devices.batch import Launch, RunnerLaunch, run_batch
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.devices.facts import facts_of
from hydra_mobile.devices.launch import install, push_bundle
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import with_reconnect
from hydra_mobile.devices.timing import Timed, time_on_device
from hydra_mobile.evaluation.spec import Asked
from hydra_mobile.evaluation.store.prediction_log import Appender
from hydra_mobile.evaluation.store.shards import Shard, picture_groups
from hydra_mobile.evaluation.store.work_dir import FACTS
from hydra_mobile.evaluation.workers.context_check import left_out
from hydra_mobile.evaluation.workers.speed import NEW_TOKENS, QUESTION, REPEATS, Speed
from hydra_mobile.models.processor import MobileVLMProcessor


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


class _Limits:
    """What `fitting` asks of a runner."""

    def __init__(self, bundle: Bundle) -> None:
        self.processor: MobileVLMProcessor = bundle.processor()
        self.max_context = bundle.limits.max_context


def answer_job(device: OnDevice, asked: Asked, job: Path, done: set[str], part: Shard) -> None:
    """Answer this part of a benchmark.

    Args:
        device: where.
        asked: the questions.
        job: the benchmark's folder.
        done: keys that are answered already.
        part: which questions are ours.
    """
    limits = _Limits(device.bundle)
    skipped = left_out(asked, limits)
    # All of the part, answered or not: a batch that was interrupted is then the same batch.
    ours = [item for item in part.of(list(asked.questions)) if item[1].key not in skipped]
    grouped = [item for group in picture_groups(ours) for item in group]
    places = {sample.key: index for index, sample in ours}
    recipe = limits.processor.image
    fit = asked.benchmark.image_fit
    own = dataclasses.replace(recipe, fit=fit) if fit and fit != recipe.fit else None
    folder = job / f"device-{part.number - 1}"
    asks = [
        Ask(
            sample.key,
            asked.benchmark.prompt(sample),
            sample.image.open if sample.image else None,
            sample.image.key if sample.image else "",
            asked.benchmark.max_new_tokens,
        )
        for _, sample in grouped
    ]
    write_requests(folder, asks, limits.processor, own)
    log = Appender(job / f"answers-{part.number - 1}.jsonl")

    def keep(line: dict[str, Any]) -> None:
        if line["id"] not in done:
            done.add(line["id"])
            log.add(_line(line, places[line["id"]], limits.processor, not device.emulated))

    try:
        run_batch(
            device.remote,
            device.launch,
            folder,
            folder / f"answers-{device.launch.digest}.jsonl",
            on_answer=keep,
            say=_say,
        )
    finally:
        log.close()
    write_json(
        job / f"worker-{part.number - 1}.json",
        {"image_fit": (own or recipe).fit, "peak_memory_bytes": None},
    )


def _line(
    line: dict[str, Any], index: int, processor: MobileVLMProcessor, timed: bool
) -> dict[str, Any]:
    """Return what is kept of an answer; times of an emulator are left out."""
    inside = line["prefill_seconds"] + line["decode_seconds"] + (line["encode_seconds"] or 0.0)
    return {
        "index": index,
        "key": line["id"],
        "text": processor.decode(line["ids"]),
        "ids": line["ids"],
        "margin": round(line["margin"], 4),
        "encode_seconds": line["encode_seconds"] if timed else None,
        "first_token_seconds": line["first_token_seconds"] if timed else None,
        "seconds": round(inside, 6),
        "runner_seconds": round(inside, 6),
    }


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
            "peak_memory_bytes": _peak(timed) if counts else None,
            "speed": (speed_of(timed) if counts else Speed()).to_dict(),
            "device": timed.device,
        },
    )


def speed_of(timed: Timed) -> Speed:
    """Return a device's timings in the form that all runners' have."""
    lines = timed.repeats
    return Speed(
        encode=[line["encode_seconds"] for line in lines],
        prefill_rate=[line["prefill_tokens"] / line["prefill_seconds"] for line in lines],
        first_token=[line["first_token_seconds"] for line in lines],
        decode_rate=[line["decode_steps"] / line["decode_seconds"] for line in lines],
    )


def _peak(timed: Timed) -> int:
    return max(int(line["peak_memory_bytes"]) for line in timed.repeats)
