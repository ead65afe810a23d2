"""Runs a folder of questions on a device and copies the answers back as they come.

The device works on its own: a cable that is pulled out ends nothing, and a question whose answer is
here is never asked again. The local copy of the answers is, byte for byte, the beginning of the
device's; a device that lost its copy gets ours back before it resumes. Completion is decided by the
exit code that the device kept and by the answers, never by the end of a connection.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices import detached
from hydra_mobile.devices.batch_format import ANSWERS, REQUESTS, files_of, ids_of
from hydra_mobile.devices.detached import State
from hydra_mobile.devices.errors import (
    DeviceFull,
    OutOfMemory,
    RunnerMissing,
    WrongAbi,
)
from hydra_mobile.devices.push import push_changed
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import SECONDS, Say, with_reconnect

_POLL_SECONDS = 0.5

OnAnswer = Callable[[AnswerLine], None]


class Launch(Protocol):
    """A way to start a batch on a device and to see how it is."""

    @property
    def digest(self) -> str:
        """Changes with what runs."""

    @property
    def batches(self) -> str:
        """Folder on the device that batches are put below."""

    def start(self, folder: str) -> None:
        """Start in the batch's folder."""

    def state(self, folder: str) -> State:
        """Return how it is."""

    def stop(self, folder: str) -> None:
        """End it, if it runs."""


@dataclass(frozen=True)
class RunnerLaunch:
    """The native runner, started from a shell."""

    remote: Remote
    command: str
    digest: str
    threads: int = 0

    @property
    def batches(self) -> str:
        """Folder of the batches."""
        return f"{self.remote.root}/batches"

    def start(self, folder: str) -> None:
        """See `Launch.start`."""
        files = f"--requests {REQUESTS} --answers {ANSWERS} --threads {self.threads}"
        detached.start(self.remote, f"{self.command} {files}", folder)

    def state(self, folder: str) -> State:
        """See `Launch.state`."""
        return detached.state(self.remote, folder)

    def stop(self, folder: str) -> None:
        """See `Launch.stop`."""
        detached.stop(self.remote, folder)


def run_batch(
    remote: Remote,
    launch: Launch,
    requests: Path,
    answers: Path,
    *,
    on_answer: OnAnswer = lambda line: None,
    say: Say = lambda text: None,
    wait_seconds: float = SECONDS,
) -> None:
    """Answer a folder of requests on a device.

    Args:
        remote: the device.
        launch: what answers there.
        requests: folder that `write_requests` made.
        answers: the local copy, gone on with where it ends; lines of `native/README.md`.
        on_answer: receives each answer that comes in, those of the local copy first.
        say: receives a line for each event of the connection.
        wait_seconds: for which the device may stay away.

    Raises:
        DeviceGone: it stayed away longer.
        DeviceFull, RunnerMissing, WrongAbi, OutOfMemory, ArtifactError, HydraError: it came to
            nothing on the device; what it said is in the message. Answers so far are kept.
    """
    copy = _Copy(answers, on_answer)
    wanted = set(ids_of(requests))
    digest = hashlib.sha256(f"{launch.digest} {sha256_of(requests / REQUESTS)}".encode())
    folder = f"{launch.batches}/{digest.hexdigest()[:16]}"
    drive = _Drive(remote, launch, requests, folder, copy, wanted, say)

    def on() -> None:
        while not wanted <= copy.ids:
            drive.go()

    with_reconnect(remote, on, say, seconds=wait_seconds, progress=lambda: len(copy.ids))


class _Copy:
    """The answers that are here: whole lines, and who hears of them."""

    def __init__(self, file: Path, on_answer: OnAnswer) -> None:
        self.ids: set[str] = set()
        self._file = file
        self._on_answer = on_answer
        whole = _whole_lines(file.read_bytes()) if file.is_file() else b""
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.stat().st_size != len(whole):
            file.write_bytes(whole)
        self.size = len(whole)
        self._pass_on(whole)

    def add(self, block: bytes) -> bool:
        """Append what came; say whether an answer was among it."""
        whole = _whole_lines(block)
        if not whole:
            return False
        with self._file.open("ab") as handle:
            handle.write(whole)
        self.size += len(whole)
        return self._pass_on(whole)

    @property
    def file(self) -> Path:
        """The local copy."""
        return self._file

    def _pass_on(self, whole: bytes) -> bool:
        before = len(self.ids)
        for text in whole.decode().splitlines():
            line = json.loads(text)
            # A device may answer twice what it answered before its copy was lost.
            if "id" in line and line["id"] not in self.ids:
                self.ids.add(line["id"])
                self._on_answer(AnswerLine.from_device(line))
        return len(self.ids) > before


class _Drive:
    """One batch on one device, from wherever it is to its end."""

    def __init__(
        self,
        remote: Remote,
        launch: Launch,
        requests: Path,
        folder: str,
        copy: _Copy,
        wanted: set[str],
        say: Say,
    ) -> None:
        self._remote, self._launch, self._requests = remote, launch, requests
        self._folder, self._copy, self._wanted, self._say = folder, copy, wanted, say
        #: How many answers there were when it was last started: no progress since ends it.
        self._at_start = -1

    def go(self) -> None:
        """Push what is missing, start if nothing runs, follow to the end."""
        state = self._launch.state(self._folder)
        if state.kind != "running":
            push_changed(self._remote, files_of(self._requests), self._folder)
            self._end_others()
            self._give_back()
            self._start(state)
        self._follow()

    def _start(self, state: State) -> None:
        if state.kind == "gone" and self._at_start == len(self._copy.ids):
            raise OutOfMemory(
                "The runner was ended from outside on the device, without an answer since its "
                f"start. Android does that to what takes too much memory.{_output(state)}",
                _MEND_MEMORY,
            )
        self._at_start = len(self._copy.ids)
        self._launch.start(self._folder)

    def _follow(self) -> None:
        path = f"{self._folder}/{ANSWERS}"
        while True:
            # The state first: what an ended run wrote is all there when we read after that.
            state = self._launch.state(self._folder)
            came = self._copy.add(self._remote.read(path, self._copy.size))
            if self._wanted <= self._copy.ids:
                return
            if state.kind == "ended":
                if state.code:
                    raise _failure(state)
                if self._held() > self._copy.size:
                    continue  # a connection that broke silently gave a part
                raise HydraError(
                    f"The device reported completion, but {len(self._wanted - self._copy.ids)} "
                    f"answers are missing in {path}.",
                    "Run the same again.",
                )
            if state.kind != "running":
                return
            if not came:
                time.sleep(_POLL_SECONDS)

    def _give_back(self) -> None:
        """Let the device have the answers that are here and that it no longer has."""
        path = f"{self._folder}/{ANSWERS}"
        if self._copy.size > self._held():
            self._remote.push(self._copy.file, f"{path}.part")
            self._remote.shell(f"mv -f {shlex.quote(path + '.part')} {shlex.quote(path)}")

    def _held(self) -> int:
        """Return the bytes of answers that the device has."""
        path = shlex.quote(f"{self._folder}/{ANSWERS}")
        held = self._remote.shell(f"wc -c < {path}").output.strip()
        return int(held) if held.isdigit() else 0

    def _end_others(self) -> None:
        """End what an earlier command left running: two at once have neither time nor memory."""
        listed = self._remote.shell(f"ls {shlex.quote(self._launch.batches)} 2>/dev/null").output
        for name in listed.split():
            other = f"{self._launch.batches}/{name}"
            if other != self._folder and self._launch.state(other).kind == "running":
                self._say(f"An earlier batch still runs in {other} and is ended.")
                self._launch.stop(other)


_MEND_MEMORY = (
    "Close other apps, or use a smaller preset or max_context; `hydra-mobile devices list BUNDLE` "
    "says what fits. Answers so far are kept, the same command goes on."
)


def _failure(state: State) -> HydraError:
    """Return what an exit code means; `native/README.md` lists the runner's own."""
    code, output = state.code, _output(state)
    if code in (5, 137):
        how = "had no memory left" if code == 5 else "was killed by the system"
        return OutOfMemory(f"The runner {how} on the device.{output}", _MEND_MEMORY)
    if code == 4:
        return DeviceFull(
            f"The device could not write an answer.{output}",
            "Free some space on it; the same command goes on.",
        )
    if code == 126 or "Exec format" in state.said or "not executable" in state.said:
        return WrongAbi(
            f"The device cannot run the runner.{output}",
            "It is for another kind of processor, or its folder allows no programs.",
        )
    if code == 127:
        return RunnerMissing(
            f"The device does not find the runner, or a library of it.{output}",
            "Run the same again: what is missing is copied. It also says so where the runner needs "
            "a loader that the device does not have, as an Android build on Linux does.",
        )
    if code == 6:
        return HydraError(f"It was stopped on the device.{output}", "The same command goes on.")
    if code in (2, 3):
        return ArtifactError(f"The runner cannot use bundle or requests on the device.{output}")
    return HydraError(f"The runner ended with exit code {code} on the device.{output}")


def _output(state: State) -> str:
    return f" It said: {state.said.removeprefix('error: ')}" if state.said else ""


def _whole_lines(block: bytes) -> bytes:
    return block[: block.rfind(b"\n") + 1]
