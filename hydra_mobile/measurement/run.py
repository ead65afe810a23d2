"""Measures artifacts in turns, round after round, and keeps what was measured when interrupted.

The first round loads cold, the others warm.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json, unwrapped, write_json
from hydra_mobile.core.progress import SILENT, Log, Progress, silent
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices import device_class, device_named
from hydra_mobile.devices.device import BatchDevice
from hydra_mobile.evaluation.workers.placement import loadable
from hydra_mobile.measurement.plan import Plan, question_of
from hydra_mobile.reporting import environment
from hydra_mobile.runtimes.model_ref import ModelRef
from hydra_mobile.runtimes.speed import Speed

SCHEMA = 1


def bench(
    artifacts: Sequence[ModelRef],
    plan: Plan,
    device: str,
    log: Log = silent,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Measure every artifact `plan.rounds` times, interleaved.

    Interrupted, it returns what whole measurements there are, marked.

    Args:
        artifacts: as `placement.moved` returned them.
        plan: what to measure.
        device: as the user named it, for the record.
        log: receives a line for each wait for a device.
        progress: shows the stage.

    Raises:
        HydraError: a measurement failed; or the device is an emulator, whose timings say nothing.
    """
    if reason := device_named(device).untimed:
        raise HydraError(
            f"{reason} There is nothing to measure on --device {device}.",
            f"`hydra-mobile verify --device {device}` checks what it answers; `hydra-mobile "
            "estimate` and `devices` show what a bundle needs.",
        )
    rows: dict[str, dict[str, Any]] = {a.name: _row(a) for a in artifacts}
    interrupted = False
    try:
        with progress.stage("measuring", plan.rounds * len(artifacts), 0, "processes") as stage:
            for turn in range(plan.rounds):
                for number, artifact in enumerate(artifacts, 1):
                    cold = turn == 0
                    measured = _measured(artifact, plan, cold, rows[artifact.name], log)
                    rows[artifact.name]["processes"].append(measured)
                    stage.advance(turn * len(artifacts) + number, 1, artifact.name)
    except KeyboardInterrupt:
        interrupted = True
    return {
        "schema": SCHEMA,
        "environment": vars(environment.collect()),
        "device": device,
        "plan": plan.to_dict(),
        "interrupted": interrupted,
        "rows": [row for row in rows.values() if row["processes"]],
    }


def _row(artifact: ModelRef) -> dict[str, Any]:
    files = {}
    if artifact.kind == "bundle":
        files = {
            name: entry["bytes"]
            for name, entry in Bundle.open(artifact.path).manifest["files"].items()
        }
    return {
        "name": artifact.name,
        "runner": artifact.runner,
        "preset": artifact.preset,
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "files": files,
        "processes": [],
    }


def _measured(
    artifact: ModelRef, plan: Plan, cold: bool, row: dict[str, Any], log: Log
) -> dict[str, Any]:
    device = device_class(artifact.device)()
    if isinstance(device, BatchDevice):
        return _in_batches(device, artifact, plan, cold, row, log)
    return _in_process(artifact, plan, cold)


def _in_process(artifact: ModelRef, plan: Plan, cold: bool) -> dict[str, Any]:
    """Measure in a separate process."""
    with working_folder("bench") as work:
        task, result = work / "task.json", work / "result.json"
        write_json(
            task,
            {
                "artefact": str(artifact.path.absolute()),
                "runner": artifact.runner,
                "device": artifact.device,
                "verified": artifact.kind == "bundle",
                "plan": plan.to_dict(),
                "cold": cold,
            },
        )
        command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile.measurement.worker"]
        # OpenMP reads its variable once, before any code of ours could set it.
        threads = {"OMP_NUM_THREADS": str(plan.threads)} if plan.threads else {}
        done = subprocess.run(
            [*command, str(task), str(result)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **threads},
        )
        if done.returncode:
            said = done.stderr.strip()[-2000:]
            raise HydraError(f"Measuring {artifact.name} failed:\n{said or done.returncode}")
        measured: dict[str, Any] = read_json(result, "a measurement")
    return measured


def _in_batches(
    device: BatchDevice,
    artifact: ModelRef,
    plan: Plan,
    cold: bool,
    row: dict[str, Any],
    log: Log,
) -> dict[str, Any]:
    """Measure on the device by its own clock; its facts go into the row."""
    session = device.session(
        Bundle.open(loadable(artifact.path, verified=True)), plan.threads, log, cold=cold
    )
    bundle = session.bundle
    if session.emulated:
        raise HydraError(
            "On the device an emulator stands between the runner and the processor; its timings "
            "mean nothing.",
            "Unset HYDRA_MOBILE_LAUNCHER, or use a device of the runner's own kind.",
        )
    question = question_of(plan, bundle.processor(), bundle.limits.max_context)
    with working_folder("bench") as work:
        timed = session.time(
            work,
            question=question,
            new_tokens=plan.new_tokens,
            repeats=plan.repeats,
            warmup=plan.warmup,
            say=log,
        )
    row.setdefault("device", []).append(timed.device)
    return {
        "load_seconds": timed.sessions[-1]["load_seconds"],
        "cold": session.cold,
        "threads": timed.sessions[-1]["threads"],
        "precision": bundle.preset.name,
        "peak_memory_bytes": timed.peak_memory_bytes,
        "prompt_tokens": timed.repeats[-1].prefill_tokens,
        **Speed.of(timed.repeats).to_dict(),
    }


def read_result(file: Path) -> dict[str, Any]:
    """Return an earlier result.

    Raises:
        HydraError: the file is missing, or holds none.
    """
    value = unwrapped(read_json(file, "a result of `hydra-mobile bench --json`"))
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or "rows" not in value:
        raise HydraError(
            f"{file} holds no result of `hydra-mobile bench` of this version.",
            f"Expected the keys `schema` ({SCHEMA}), `plan` and `rows`; it begins with "
            f"{shown(value)}.",
        )
    return value
