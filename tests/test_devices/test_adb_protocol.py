"""The adb path over adb's protocol, against a made-up server: push, run, pull, unplugged.

The real arm64 or x86-64 runner is not needed here; a script plays it, as in `test_device_batch`.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from threading import Thread

import pytest
from fake_adb import SERIAL, FakeAdb
from test_device_batch import RUNNER, ask, program

from hydra_mobile.devices import adb
from hydra_mobile.devices.errors import DeviceGone, SeveralDevices
from hydra_mobile.devices.push import push_changed
from hydra_mobile.devices.remote import ShellResult

pytest.importorskip("adbutils", reason="needs the extra [device]")

Start = Callable[..., FakeAdb]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Start a server with phones and breaks; `adb` then uses it."""
    servers = []
    print("adb: a made-up server that speaks its protocol, no real adbd")

    def begin(states: dict[str, str], breaks: Collection[int] = ()) -> FakeAdb:
        servers.append(server := FakeAdb(states, breaks))
        # It waits a moment for the thread that shuts it down, which no test should wait for.
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.server_address[1]))
        monkeypatch.setenv(adb.ROOT_VARIABLE, str(tmp_path / "phone"))
        monkeypatch.delenv(adb.SERIAL_VARIABLE, raising=False)
        (tmp_path / "phone").mkdir(exist_ok=True)
        return server

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    folder = tmp_path / "requests"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "p.png").write_bytes(bytes(range(256)) * 40)
    lines = [json.dumps({"id": f"q{n}", "image": "pictures/p.png"}) for n in range(30)]
    (folder / "requests.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_shell_tells_output_and_exit_code(start: Start) -> None:
    start({SERIAL: "device"})
    remote = adb.select()
    assert remote.serial == SERIAL
    assert remote.shell("echo out; echo err >&2; exit 7") == ShellResult(7, "out\nerr\n")


def test_shell_that_is_cut_off_is_no_success(start: Start) -> None:
    start({SERIAL: "device"}, breaks=[1])
    with pytest.raises(DeviceGone, match="broke"):
        adb.select().shell("echo all is well")


def test_raw_bytes_arrive_as_they_are(start: Start, tmp_path: Path) -> None:
    start({SERIAL: "device"})
    file = tmp_path / "phone" / "bytes"
    file.write_bytes(content := random.Random(0).randbytes(200_000) + b"\r\n\n")
    remote = adb.select()
    assert remote.read(str(file)) == content
    assert remote.read(str(file), 199_999) == content[199_999:]


def test_two_phones_without_a_serial(start: Start) -> None:
    start({"A": "device", "B": "device"})
    with pytest.raises(SeveralDevices, match="A, B"):
        adb.select()


def test_push_goes_on_whichever_operation_breaks(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(random.Random(0).randbytes(50_000))
    server = start({SERIAL: "device"})
    remote = adb.select()
    number = 0
    while server.broken.total() == number:
        number += 1
        server.operations.clear()
        server.breaks = frozenset({number})
        target = tmp_path / "phone" / str(number)
        with contextlib.suppress(DeviceGone):
            push_changed(remote, {"file": file}, str(target))
        server.breaks = frozenset()
        push_changed(remote, {"file": file}, str(target))
        assert (target / "file").read_bytes() == file.read_bytes()
        assert push_changed(remote, {"file": file}, str(target)).copied == ()
    # The file, and the list of hashes.
    assert server.broken["push"] == 2
    assert server.broken["shell"] >= 6


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_is_lost_or_doubled_when_the_phone_is_unplugged(
    start: Start, tmp_path: Path, requests: Path, seed: int
) -> None:
    dice = random.Random(seed)
    server = start({SERIAL: "device"}, breaks={2, *dice.sample(range(3, 60), 10)})
    command = program(tmp_path, RUNNER)
    answers = tmp_path / "answers.jsonl"
    seen = ask(adb.select(), command, requests, answers)
    assert server.broken.total() >= 3
    assert seen == Counter({f"q{n}": 1 for n in range(30)})
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert Counter(line["id"] for line in lines if "id" in line) == seen
