"""The adb path over adb's protocol, against a made-up server: push, run, pull, unplugged.

The real arm64 or x86-64 runner is not needed here; a script plays it, as in `test_device_batch`.
"""

from __future__ import annotations

import contextlib
import json
import random
import socketserver
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from threading import Thread

import pytest
from fake_adb import SERIAL, FakeAdb
from test_device_batch import RUNNER, ask, program

from hydra_mobile.devices import adb
from hydra_mobile.devices.errors import DeviceGone, SeveralDevices
from hydra_mobile.devices.facts import _SECTIONS, facts_of
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


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes | None], None]]:
    """Start a server that answers everything with the same bytes, or with None never."""
    servers = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer = self.server.answer  # type: ignore[attr-defined]
            with contextlib.suppress(OSError):
                self.request.recv(1 << 16)
                if answer is None:
                    self.request.recv(1 << 16)
                else:
                    self.request.sendall(answer)

    def begin(answer: bytes | None) -> None:
        servers.append(server := socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
        server.daemon_threads, server.answer = True, answer  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.server_address[1]))

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OKAY",
        b"OKAYzzzz",
        b"OKAY-001",
        b"OKAY0100short",
        b"FAIL",
        b"FAIL0004\xff\xfe\x00\x1b",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(range(256)),
        None,
    ],
)
def test_what_is_no_adb_is_told_and_the_rest_is_listed(answering, run_verb, monkeypatch, answer):
    monkeypatch.setattr(adb, "_ANSWER_SECONDS", 0.2)
    answering(answer)
    code, out, err = run_verb("devices", "list", "--json")
    assert code == 0, err
    places = {p["option"]: p["state"] for p in json.loads(out)["result"]["places"]}
    assert "native" in places
    phones = [state for option, state in places.items() if option.startswith("adb")]
    # A server that ends early has no phones.
    assert all("broke" in state for state in phones)
    assert "\x1b" not in run_verb("devices", "list")[1]


@pytest.mark.parametrize("port", ["adb", "-1", "0", "70000", "5037.0", "\u0665"])
def test_a_port_that_is_none_is_named(run_verb, monkeypatch, port):
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    code, out, _ = run_verb("devices", "list")
    assert code == 0
    assert "ANDROID_ADB_SERVER_PORT" in out


def test_what_a_phone_says_of_itself_may_be_garbage(start: Start, monkeypatch) -> None:
    start({SERIAL: "device"})
    remote = adb.select()
    text = "\n".join(f"=={name}==\nno such file \x00 99999999999999999999 -1" for name in _SECTIONS)
    monkeypatch.setattr(remote, "shell", lambda command: ShellResult(0, text))
    assert facts_of(remote).serial == SERIAL
