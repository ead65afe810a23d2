"""What is known of a place where bundles run, by the name that `--device` is given.

A new device is one file with a subclass and one line in `hydra_mobile.devices.DEVICES`; nothing
else asks for a device's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.memory.phones import PROCESS_BYTES
from hydra_mobile.core.errors import HydraError
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.devices.batch import Launch, run_batch
from hydra_mobile.devices.facts import DeviceFacts
from hydra_mobile.devices.remote import Remote
from hydra_mobile.devices.retry import Say
from hydra_mobile.devices.timing import Timed, time_on_device


@dataclass(frozen=True)
class Placed:
    """What a device adds to a bundle that runs there.

    Attributes:
        label: behind the bundle's name in tables.
        recipe: changes what answers are kept apart by, beside the device's name.
    """

    label: str
    recipe: str = ""


@dataclass(frozen=True)
class Listed:
    """A place where bundles run.

    Attributes:
        option: what `--device` is given.
        state: "ready", or why it is not.
        facts: None where they are not known.
        misfits: why a bundle does not fit; None where no bundle was given.
        needed_bytes: the bundle's estimated peak, with an app around it on Android.
    """

    option: str
    state: str
    facts: DeviceFacts | None = None
    misfits: tuple[str, ...] | None = None
    needed_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "facts": self.facts.to_dict() if self.facts else None}

    def judged(self, bundle: Bundle | None) -> Listed:
        """Return it with the fit of a bundle, where its facts are known."""
        if bundle is None or self.facts is None:
            return self
        found, needed = misfits(bundle, self.facts)
        return replace(self, misfits=found, needed_bytes=needed)


class Device(ABC):
    """A place where bundles run.

    Args:
        serial: which one, behind the colon of `--device NAME:SERIAL`; "" for the only one.

    Raises:
        HydraError: a serial for a device that has none.
    """

    #: Its name in `DEVICES`.
    name: ClassVar[str]
    #: What people call it.
    title: ClassVar[str]
    #: One line for help texts.
    summary: ClassVar[str]
    #: Whether there may be several, distinguished by a serial.
    takes_serial: ClassVar[bool] = False
    #: Whether bundles run elsewhere than in this process' own runtime.
    moves_bundles: ClassVar[bool] = True
    #: Whether it is given whole questions, a batch at a time, and answers one batch at a time.
    answers_in_batches: ClassVar[bool] = False
    #: Runtimes of bundles that it runs; empty where the device itself decides.
    formats: ClassVar[tuple[str, ...]] = ()
    #: "module:Object" of the `Runtime` that calls operations there; "" where nothing can.
    runtime: ClassVar[str] = ""
    #: Why its timings mean nothing, in one sentence; "" where they do.
    untimed: ClassVar[str] = ""

    def __init__(self, serial: str = "") -> None:
        if serial and not self.takes_serial:
            raise HydraError(
                f"--device {self.name}:{serial}: `{self.name}` takes no serial.",
                f"Give --device {self.name}.",
            )
        self.serial = serial

    @classmethod
    def usage(cls) -> str:
        """Return what `--device` is given, for help and errors."""
        return f"{cls.name}[:SERIAL]" if cls.takes_serial else cls.name

    @property
    def option(self) -> str:
        """What `--device` was given."""
        return f"{self.name}:{self.serial}" if self.serial else self.name

    def place(self) -> Placed:
        """Make the device ready before the first question, once for all processes.

        Raises:
            HydraError: it is not there, or what it needs cannot be built.
        """
        return Placed("")

    @abstractmethod
    def listed(self, bundle: Bundle | None) -> list[Listed]:
        """Return the places of this kind that are present, each with the fit of a bundle."""


class BatchDevice(Device):
    """A device that is given whole questions."""

    answers_in_batches = True

    @abstractmethod
    def session(
        self, bundle: Bundle, threads: int, say: Say, *, cold: bool = False
    ) -> BatchSession:
        """Make a bundle ready there; call `place` before, in this process or one that started it.

        Args:
            bundle: opened.
            threads: of the device; 0 leaves the choice to it.
            say: receives a line for each event of the connection.
            cold: load as if for the first time, where the device can.

        Raises:
            HydraError: no device, several, or it cannot run the bundle.
        """


@dataclass(frozen=True)
class BatchSession:
    """A bundle that is ready on a device.

    Attributes:
        remote: the connection.
        launch: starts the bundle there.
        bundle: the same bundle here.
        emulated: timings mean nothing.
        cold: whether programs are dropped from the page cache before they are loaded.
    """

    remote: Remote
    launch: Launch
    bundle: Bundle
    emulated: bool = False
    cold: bool = False

    def answer(self, requests: Path, on_answer: Callable[[AnswerLine], None], say: Say) -> None:
        """Answer a folder of requests; interrupted, the next call goes on. See `run_batch`."""
        answers = requests / f"answers-{self.launch.digest}.jsonl"
        run_batch(self.remote, self.launch, requests, answers, on_answer=on_answer, say=say)

    def time(
        self, folder: Path, *, question: str, new_tokens: int, repeats: int, warmup: int, say: Say
    ) -> Timed:
        """Time the bundle by the device's own clock. See `time_on_device`."""
        return time_on_device(
            self.remote,
            self.launch,
            self.bundle,
            folder,
            question=question,
            new_tokens=new_tokens,
            repeats=repeats,
            warmup=warmup,
            say=say,
        )


#: What bundles need whose manifest does not record it.
_EARLIER = {"abis": ["arm64-v8a", "x86_64"], "android_api": 26}


def misfits(bundle: Bundle, facts: DeviceFacts) -> tuple[tuple[str, ...], int | None]:
    """Return why a bundle does not fit on a device, and the bytes that it needs there.

    Bundles of earlier versions do not record how much memory they take; it is None then.
    """
    requires: dict[str, Any] = {**_EARLIER, **bundle.manifest.get("requires", {})}
    abis, api = tuple(requires["abis"]), int(requires["android_api"])
    needed = bundle.peak_bytes
    if needed is not None and facts.android:
        needed += PROCESS_BYTES
    found = []
    if not set(abis) & set(facts.abis):
        found.append(f"runs on {', '.join(abis)}; the device is {', '.join(facts.abis) or '?'}")
    if facts.api_level is not None and facts.api_level < api:
        found.append(f"needs Android API {api}; the device has {facts.api_level}")
    free = facts.available_bytes
    if free is not None and needed is not None and needed > free:
        found.append(f"needs about {needed / 1e6:.0f} MB; {free / 1e6:.0f} MB are available")
    return tuple(found), needed
