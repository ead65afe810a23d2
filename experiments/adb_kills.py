"""Kills adbd in the middle of pushing, running and pulling: is an answer lost or doubled?

    unshare -n python experiments/adb_kills.py BUNDLE --data data/emojiqa --adbd PATH --kills 20

Runs a real adbd on this machine's loopback (it needs no phone, but a network namespace of its own:
it serves anyone who connects). A bundle exported with `--attention manual` answers EmojiQA through
`hydra-mobile evaluate --device adb:...`, once undisturbed and then, from an empty device each time,
while adbd is killed and started again at random moments. Every answer must be there once and equal
the undisturbed one. With `--emulated` the device runs the arm64 runner under qemu. Writes JSON that
says which adbd and which runner it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.devices.emulator import emulated
from hydra_mobile.devices.launch import LAUNCHER_VARIABLE, RUNNER_VARIABLE
from hydra_mobile.devices.native_build import ARM64, native_runner
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("results") / "adb_kills.json"
PORT = "6557"
PHASES = ("push", "run", "pull")
SERIAL = f"127.0.0.1:{PORT}"


class Adbd:
    """The daemon, killed and started at will."""

    def __init__(self, program: str, home: Path) -> None:
        self._command = [program]
        self._environment = {**os.environ, "ADBD_PORT": PORT, "HOME": str(home)}
        home.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.5)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def evaluation(bundle: Path, data: Path, each: int, out: Path) -> subprocess.Popen[bytes]:
    """Start an evaluation over adb."""
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "evaluate", str(bundle)]
    command += ["--benchmarks", "emojiqa", "--data", str(data), "--limit", str(each)]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--device", f"adb:{SERIAL}", "--out", str(out)], stdout=log, stderr=log
        )


def answered(out: Path) -> list[dict[str, Any]]:
    """Return every line of the evaluation's answers."""
    (file,) = out.glob("answers/*/emojiqa-*/answers.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def phase(out: Path, device: Path) -> str:
    """Return what the evaluation is doing, from what is on the disks."""
    if not any(device.glob("batches/*/pid")):
        return "push"
    finished = any(device.glob("batches/*/code"))
    return "pull" if finished else "run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--adbd", default=shutil.which("adbd"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--emulated", action="store_true", help="arm64 runner under qemu")
    parser.add_argument("--each", type=int, default=12, help="questions of each split")
    parser.add_argument("--work", type=Path, default=Path("runs/adb_kills"))
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if not arguments.adbd:
        raise SystemExit("There is no adbd here: name one with --adbd.")
    work = arguments.work.absolute()
    device = work / "device"
    os.environ |= {"ANDROID_ADB_SERVER_PORT": "5040", "HYDRA_MOBILE_DEVICE_ROOT": str(device)}
    if arguments.emulated:
        *launcher, runner = emulated(native_runner(ARM64))
        os.environ |= {LAUNCHER_VARIABLE: shlex.join(launcher), RUNNER_VARIABLE: runner}
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    shutil.rmtree(work, ignore_errors=True)
    adbd = Adbd(arguments.adbd, work / "home")
    dice = random.Random(0)
    kills: Counter[str] = Counter()
    runs = []
    try:
        calm = work / "calm"
        if evaluation(arguments.bundle, arguments.data, arguments.each, calm).wait():
            raise SystemExit(calm.with_suffix(".log").read_text())
        expected = {line["key"]: line["ids"] for line in answered(calm)}
        while sum(kills.values()) < arguments.kills:
            shutil.rmtree(device)
            out = work / f"run-{len(runs)}"
            process = evaluation(arguments.bundle, arguments.data, arguments.each, out)
            during = 0
            while process.poll() is None:
                time.sleep(dice.uniform(0.05, 1.0))
                if process.poll() is not None or sum(kills.values()) >= arguments.kills:
                    continue
                # Before the first push nothing is at stake.
                if not device.is_dir() or any(out.glob("answers/*/facts.json")):
                    continue
                # What was disturbed least has its turn.
                if kills[now := phase(out, device)] > min(kills[name] for name in PHASES):
                    continue
                kills[now] += 1
                during += 1
                adbd.kill()
                adbd.start()
            if process.returncode:
                raise SystemExit(out.with_suffix(".log").read_text())
            lines = answered(out)
            runs.append(
                {
                    "kills": during,
                    "exit_code": process.returncode,
                    "answers": len(lines),
                    "doubled": len(lines) - len({line["key"] for line in lines}),
                    "lost": len(expected.keys() - {line["key"] for line in lines}),
                    "changed": sum(line["ids"] != expected[line["key"]] for line in lines),
                }
            )
            print(f"run {len(runs)}: {runs[-1]}; kills so far {dict(kills)}", flush=True)
    finally:
        adbd.kill()
        import adbutils

        subprocess.run([adbutils.adb_path(), "kill-server"], check=False)
    bundle = Bundle.open(arguments.bundle)
    write_json(
        arguments.out,
        {
            "environment": vars(environment.collect()),
            "adbd": f"real adbd ({Path(arguments.adbd).name}) on loopback",
            "runner": "arm64 under qemu" if arguments.emulated else platform.machine(),
            "preset": bundle.preset.name,
            "program_bytes": bundle.size_bytes,
            "questions": len(expected),
            "distinct_answers": len({tuple(ids) for ids in expected.values()}),
            "kills": dict(kills),
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
