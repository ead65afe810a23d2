"""Which phone is taken, and what is said when it cannot be: adb's list is made up here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hydra_mobile.devices import adb
from hydra_mobile.devices.errors import DeviceGone, NoDevice, SeveralDevices

pytest.importorskip("adbutils", reason="needs the extra [device]")


class Client:
    """What this module asks of adbutils' client."""

    def __init__(self, states: dict[str, str], output: bytes = b"") -> None:
        self.states, self.output = states, output

    def list(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(serial=s, state=state) for s, state in self.states.items()]

    def device(self, serial: str) -> SimpleNamespace:
        return SimpleNamespace(serial=serial, shell=lambda *_, **__: self.output)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv(adb.SERIAL_VARIABLE, raising=False)

    def connect(states: dict[str, str], output: bytes = b"") -> None:
        monkeypatch.setattr(adb, "_client", lambda: Client(states, output))

    return connect


def test_the_only_phone_is_taken(connected) -> None:
    connected({"A": "device"})
    assert adb.select().serial == "A"


def test_two_phones_without_a_serial(connected, monkeypatch: pytest.MonkeyPatch) -> None:
    connected({"A": "device", "B": "device"})
    with pytest.raises(SeveralDevices, match=r"2 devices.*A, B"):
        adb.select()
    assert adb.select("B").serial == "B"
    monkeypatch.setenv(adb.SERIAL_VARIABLE, "A")
    assert adb.select().serial == "A"


@pytest.mark.parametrize(
    ("states", "serial", "told"),
    [
        ({}, None, "No device is connected"),
        ({"A": "device"}, "B", "No device B is connected; adb knows A"),
        ({"A": "unauthorized"}, None, "does not trust this computer"),
        ({"A": "offline"}, None, "is offline"),
    ],
)
def test_what_cannot_be_used_says_why(connected, states, serial, told) -> None:
    connected(states)
    with pytest.raises(NoDevice, match=told):
        adb.select(serial)


def test_a_shell_without_its_end_mark_is_a_broken_connection(connected) -> None:
    connected({"A": "device"}, b"half of what it wan")
    with pytest.raises(DeviceGone, match="broke"):
        adb.AdbRemote("A").shell("anything")


def test_the_exit_code_is_that_of_the_command(connected) -> None:
    connected({"A": "device"}, b"out\n__HYDRA_END__:7\n")
    said = adb.AdbRemote("A").shell("anything")
    assert (said.code, said.output) == (7, "out\n")
