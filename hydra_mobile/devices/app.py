"""The demo app as a way to answer a batch: `am start` its benchmark mode, read its answers.

The app writes the same lines as the native runner and `{"end": ...}` at last. It reads and writes
in its own folder of the shared storage, where adb may write too.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.devices import adb
from hydra_mobile.devices.batch_format import ANSWERS, REQUESTS
from hydra_mobile.devices.detached import State
from hydra_mobile.devices.device import BatchDevice, BatchSession, Listed, Placed
from hydra_mobile.devices.errors import RunnerMissing
from hydra_mobile.devices.launch import push_bundle
from hydra_mobile.devices.phone import chosen_phone
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import Say, with_reconnect

PACKAGE = "org.hydramobile.demo"
ACTIVITY = f"{PACKAGE}/.BenchActivity"
FILES = f"/sdcard/Android/data/{PACKAGE}/files"


@dataclass(frozen=True)
class AppLaunch:
    """The app's benchmark mode."""

    remote: Remote
    bundle: str
    digest: str
    threads: int = 0
    batches: str = f"{FILES}/bench"

    def start(self, folder: str) -> None:
        """See `Launch.start`.

        Raises:
            RunnerMissing: the app is not installed, or would not start.
        """
        extras = {
            "requests": f"{folder}/{REQUESTS}",
            "answers": f"{folder}/{ANSWERS}",
            "bundle": self.bundle,
        }
        named = " ".join(f"--es {name} {shlex.quote(value)}" for name, value in extras.items())
        # A line of an earlier run must not be taken for this one's end.
        counted = f"wc -l < {shlex.quote(extras['answers'])} 2>/dev/null || echo 0"
        self.remote.shell(f"( {counted} ) > {shlex.quote(folder)}/lines")
        # -W: until it is there; asked for its process at once, it would seem to have died.
        said = self.remote.shell(f"am start -W -n {ACTIVITY} {named} --ei threads {self.threads}")
        # `am` says what is wrong and still returns 0.
        if said.code or "Error" in said.output:
            raise RunnerMissing(
                f"The demo app did not start on the device: {said.output.strip()}",
                "Build it with `hydra-mobile app build` and install it with `adb install -r`.",
            )

    def state(self, folder: str) -> State:
        """See `Launch.state`."""
        answers = shlex.quote(f"{folder}/{ANSWERS}")
        said = self.remote.shell(
            f"pidof {PACKAGE} > /dev/null && echo alive; "
            f"echo since=$(cat {shlex.quote(folder)}/lines 2>/dev/null); "
            f"echo lines=$(wc -l < {answers} 2>/dev/null); tail -n 1 {answers} 2>/dev/null"
        ).output
        lines = said.splitlines()
        facts = dict(line.split("=", 1) for line in lines if line.startswith(("since=", "lines=")))
        since = int(facts.get("since") or 0)
        if int(facts.get("lines") or 0) > since and (end := _end(lines[-1])) is not None:
            # Its codes are the native runner's.
            code = int(str(end.get("code", 1))) if "error" in end else 0
            return State("ended", code, str(end.get("error", "")))
        if "since" not in facts or not facts["since"]:
            return State("never")
        return State("running" if "alive" in lines else "gone")

    def stop(self, folder: str) -> None:
        """See `Launch.stop`."""
        self.remote.shell(f"am force-stop {PACKAGE}")


def _end(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    end = value.get("end") if isinstance(value, dict) else None
    return end if isinstance(end, dict) else None


class AppDevice(BatchDevice):
    """The demo app's benchmark mode on a phone; the app decides which runtimes it has."""

    name = "app"
    title = "demo app on a phone"
    summary = "the demo app on a phone, over adb"
    takes_serial = True
    #: The app's folder on the device.
    files: ClassVar[str] = FILES

    def place(self) -> Placed:
        """Choose the phone for this process and those that it starts."""
        name = f"app on {chosen_phone(self.serial)}"
        return Placed(name, name)

    def session(
        self, bundle: Bundle, threads: int, say: Say, *, cold: bool = False
    ) -> BatchSession:
        """Push the bundle, as far as it is not there; the app cannot load it cold."""
        remote: Remote = adb.chosen()

        def put() -> BatchSession:
            place = push_bundle(
                remote, bundle, f"{self.files}/models", lambda done, total, name: None
            )
            launch = AppLaunch(
                remote, place, Path(place).name, threads, batches=f"{self.files}/bench"
            )
            return BatchSession(remote, launch, bundle)

        return with_reconnect(remote, put, say)

    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return nothing: `adb` lists the phones."""
        return []
