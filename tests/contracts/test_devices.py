"""What every device promises, over the registry: a new name is tested by being registered.

A phone is a made-up adb server whose commands run in this machine's shell; the native runner and
the app on it are scripts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from fake_adb import SERIAL, FakeAdb
from local_remote import REST

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices import DEVICES, adb, device_class, device_named, native_build
from hydra_mobile.devices.app import AppDevice
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.devices.device import BatchDevice, BatchSession, Device
from hydra_mobile.devices.launch import LAUNCHER_VARIABLE, RUNNER_VARIABLE
from hydra_mobile.evaluation.workers.placement import moved, runner_on
from hydra_mobile.runtimes.model_ref import ModelRef

ALL = list(DEVICES)
BATCHES = [name for name in DEVICES if device_class(name).answers_in_batches]
CALLS = [name for name in DEVICES if device_class(name).runtime]
QUESTIONS = 12

# Answers what is missing, a line at a time, and notes each question that it was given to answer.
_ANSWER = """
for id in $(sed 's/.*"id": "\\([^"]*\\)".*/\\1/' "$requests"); do
  grep -q "\\"id\\": \\"$id\\"" "$answers" 2>/dev/null && continue
  sleep 0.02
  echo "$id" >> {folder}/asked
  printf '{"id": "%s", REST\\n' "$id" >> "$answers"
done
echo '{"end": {}}' >> "$answers"
""".replace("REST", REST)
_RUNNER = (
    """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --requests) requests=$2;; --answers) answers=$2;; esac; shift
done
"""
    + _ANSWER
)
_AM = (
    """#!/bin/sh
case "$1" in force-stop) exit 0;; esac
while [ $# -gt 0 ]; do case "$1" in --es) eval "$2='$3'"; shift;; esac; shift; done
( """
    + _ANSWER
    + """ ) > /dev/null 2>&1 &
echo $! > {folder}/pid
"""
)
_PIDOF = """#!/bin/sh
kill -0 $(cat {folder}/pid) 2>/dev/null
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdb]:
    """A phone with a runner and the app; nothing of it is outside of `tmp_path`."""
    pytest.importorskip("adbutils", reason="needs the extra [device]")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("runner.sh", _RUNNER), ("am", _AM), ("pidof", _PIDOF)):
        (tools / name).write_text(text.replace("{folder}", str(tools)))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv(adb.ROOT_VARIABLE, str(tmp_path / "device"))
    monkeypatch.setenv(RUNNER_VARIABLE, str(tools / "runner.sh"))
    # Scripts have no ELF header that could be checked.
    monkeypatch.setenv(LAUNCHER_VARIABLE, "sh")
    monkeypatch.setattr(AppDevice, "files", str(tmp_path / "app"))
    with FakeAdb({SERIAL: "device"}) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.server_address[1]))
        monkeypatch.setenv(adb.SERIAL_VARIABLE, SERIAL)
        yield server
        server.shutdown()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which every runner is built."""
    program = Path(shutil.which("true") or "/bin/true")
    for module in ("host", "emulator"):
        monkeypatch.setattr(f"hydra_mobile.devices.{module}.native_runner", lambda machine: program)
    monkeypatch.setattr("hydra_mobile.devices.emulator.missing_packages", list)
    monkeypatch.setattr("hydra_mobile.devices.emulator._qemu", lambda: "qemu-aarch64")


@pytest.fixture
def requests(fp32_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "requests"
    asks = [Ask(f"q{number}", "What is it?") for number in range(QUESTIONS)]
    write_requests(folder, asks, Bundle.open(fp32_bundle).processor())
    return folder


@pytest.mark.parametrize("name", ALL)
class TestEvery:
    def test_it_carries_what_people_read(self, name: str) -> None:
        kind = device_class(name)
        assert issubclass(kind, Device)
        assert kind.name == name
        assert kind.title
        assert 0 < len(kind.summary) <= 60
        assert not kind.summary.endswith(".")
        assert kind.usage().startswith(name)

    def test_its_option_is_read_back(self, name: str) -> None:
        kind = device_class(name)
        assert device_named(name).option == name
        if kind.takes_serial:
            assert device_named(f"{name}:10.0.0.2:5555").serial == "10.0.0.2:5555"
        else:
            with pytest.raises(HydraError, match=f"{name}:S1"):
                device_named(f"{name}:S1")

    def test_a_misspelled_name_names_it(self, name: str) -> None:
        with pytest.raises(HydraError, match=name):
            device_named(f"{name}x")

    def test_what_it_lists_can_be_given(
        self, name: str, built: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(adb, "devices", lambda: {"S": "unauthorized"})
        for place in device_class(name)().listed(None):
            assert device_named(place.option).name == name
            assert place.state
            assert json.loads(json.dumps(place.to_dict()))["option"] == place.option

    def test_bundles_move_and_their_answers_are_kept_apart(
        self, name: str, phone: FakeAdb, built: None
    ) -> None:
        kind = device_class(name)
        runner = (*kind.formats, "onnx")[0]
        bundle = ModelRef(Path("b"), "bundle", runner, "bundle int4", "int4", 1, "digest")
        torch = ModelRef(Path("m"), "merged", "torch", "torch fp32", "fp32", 1, "other")
        there = moved([torch, bundle], name)
        assert there[0] == torch
        if not kind.moves_bundles:
            assert there[1] == bundle
            return
        assert there[1].device == name
        assert there[1].identity != bundle.identity
        assert there[1].name.startswith("bundle int4 (")
        with pytest.raises(HydraError, match=name):
            moved([torch], name)
        if kind.formats:
            other = ModelRef(Path("b"), "bundle", "coreml", "bundle", "int4", 1, "digest")
            with pytest.raises(HydraError, match="coreml"):
                moved([other], name)

    def test_it_calls_operations_or_refuses_to(self, name: str) -> None:
        kind = device_class(name)
        assert not (kind.runtime and not kind.moves_bundles)
        if kind.moves_bundles and not kind.runtime:
            with pytest.raises(HydraError, match=name):
                runner_on(name, Path("bundle"))


@pytest.mark.parametrize("name", BATCHES)
class TestBatches:
    @pytest.fixture(autouse=True)
    def no_long_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in `tests/test_devices`: what is made for a test is ready at once."""
        monkeypatch.setattr("hydra_mobile.devices.batch._POLL_SECONDS", 0.05)
        monkeypatch.setattr("hydra_mobile.devices.adb._AGAIN_SECONDS", 0.05)

    def session(self, name: str, bundle: Path, said: list[str]) -> BatchSession:
        device = device_named(f"{name}:{SERIAL}")
        assert isinstance(device, BatchDevice)
        device.place()
        return device.session(Bundle.open(bundle), 1, said.append)

    def answer(
        self, session: BatchSession, requests: Path, said: Callable[[str], None]
    ) -> Counter[str]:
        seen: Counter[str] = Counter()
        session.answer(requests, lambda line: seen.update([line.key]), said)
        return seen

    def test_a_broken_connection_loses_nothing_and_asks_nothing_twice(
        self, name: str, phone: FakeAdb, fp32_bundle: Path, requests: Path, tmp_path: Path
    ) -> None:
        said: list[str] = []
        session = self.session(name, fp32_bundle, said)
        # From now on, in the middle of commands, reads and transfers.
        done = phone.operations.total()
        phone.breaks = frozenset(done + number for number in (2, 5, 9, 12, 15, 18))
        seen = self.answer(session, requests, said.append)
        every = Counter({f"q{number}": 1 for number in range(QUESTIONS)})
        assert seen == every
        assert phone.broken.total() > 0
        assert any("back" in line for line in said)
        asked = (tmp_path / "bin" / "asked").read_text().split()
        assert Counter(asked) == every

    def test_a_second_run_asks_nothing_again(
        self, name: str, phone: FakeAdb, fp32_bundle: Path, requests: Path, tmp_path: Path
    ) -> None:
        said: list[str] = []
        first = self.answer(self.session(name, fp32_bundle, said), requests, said.append)
        again = self.answer(self.session(name, fp32_bundle, said), requests, said.append)
        assert first == again
        asked = (tmp_path / "bin" / "asked").read_text().split()
        assert len(asked) == QUESTIONS


@pytest.mark.parametrize("name", CALLS)
def test_its_runtime_says_whether_its_timings_count(name: str) -> None:
    from hydra_mobile.evaluation.workers.placement import runtime_on

    device = device_named(name)
    kind = runtime_on(device, "")
    if device.untimed:
        assert not kind.timings_count
        assert kind.execution, "a report must say where its numbers come from"


def test_this_machine_is_not_ready_where_the_runner_cannot_be_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    monkeypatch.setattr(native_build, "installed_executorch", lambda: tmp_path)
    monkeypatch.setattr(native_build, "missing_packages", lambda machine: ["libstb-dev"])
    (place,) = device_named("native").listed(None)
    assert place.state == "needs: libstb-dev"
    assert native_build.host() is not None
