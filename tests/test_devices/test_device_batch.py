"""Batches on a device that breaks: a script plays the runner, this machine's shell the device."""

from __future__ import annotations

import json
import random
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from local_remote import REST, LocalRemote

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.devices import detached
from hydra_mobile.devices.batch import Launch, RunnerLaunch, run_batch
from hydra_mobile.devices.batch_format import REQUESTS
from hydra_mobile.devices.errors import (
    DeviceFull,
    DeviceGone,
    OutOfMemory,
    RunnerMissing,
    WrongAbi,
)
from hydra_mobile.devices.remote import Remote, ShellResult

# Answers what is missing, a line at a time, as the real one does; the id is its own answer.
RUNNER = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --requests) r=$2;; --answers) a=$2;; esac; shift; done
echo '{"session": {"threads": 1}}' >> $a
for id in $(sed 's/.*"id": "\\([^"]*\\)".*/\\1/' $r); do
  grep -q "\\"id\\": \\"$id\\"" $a && continue
  sleep 0.02
  printf '{"id": "%s", REST\\n' "$id" >> $a
done
echo '{"end": {}}' >> $a
""".replace("REST", REST)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    folder = tmp_path / "requests"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "p.png").write_bytes(b"png")
    lines = [json.dumps({"id": f"q{n}", "image": "pictures/p.png"}) for n in range(40)]
    (folder / REQUESTS).write_text("\n".join(lines) + "\n")
    return folder


def program(tmp_path: Path, text: str) -> str:
    file = tmp_path / "runner.sh"
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def ask(remote: Remote, command: str, requests: Path, answers: Path, **more: Any) -> Counter[str]:
    return ask_launch(remote, RunnerLaunch(remote, command, "digest"), requests, answers, **more)


def ask_launch(
    remote: Remote, launch: Launch, requests: Path, answers: Path, **more: Any
) -> Counter[str]:
    """Return how often each question's answer was passed on."""
    seen: Counter[str] = Counter()
    run_batch(
        remote,
        launch,
        requests,
        answers,
        on_answer=lambda line: seen.update([line.key]),
        **more,
    )
    return seen


def test_every_answer_comes_once_and_stays(tmp_path: Path, requests: Path) -> None:
    remote = LocalRemote(tmp_path / "device")
    command, answers = program(tmp_path, RUNNER), tmp_path / "answers.jsonl"
    expected = Counter({f"q{n}": 1 for n in range(40)})
    assert ask(remote, command, requests, answers) == expected
    # Again: the local copy has all of them, and the device is not asked.
    assert ask(remote, "/nowhere", requests, answers) == expected


class Breaking(LocalRemote):
    """Loses the connection at some of its operations, before or after they have had their effect.

    Which ones is decided beforehand: how many operations there are depends on the machine's speed.
    """

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder)
        self.dice = dice
        self.operations = self.broken = 0
        # The third is in the first push; more than a dozen there are in any case.
        self.breaks = {3, *dice.sample(range(4, 80), 12)}

    def _maybe(self) -> None:
        self.operations += 1
        if self.operations in self.breaks:
            self.broken += 1
            raise DeviceGone("unplugged")

    def shell(self, command: str, timeout: float = 60.0) -> ShellResult:
        self._maybe()
        said = super().shell(command, timeout)
        self._maybe()
        return said

    def push(self, local: Path, remote: str) -> None:
        Path(remote).write_bytes(local.read_bytes()[:1])
        self._maybe()
        super().push(local, remote)

    def read(self, path: str, offset: int = 0) -> bytes:
        self._maybe()
        block = super().read(path, offset)
        # A connection that breaks silently gives a part.
        return block[: self.dice.randint(0, len(block))]


@pytest.mark.parametrize("seed", range(4))
def test_no_answer_is_lost_or_doubled_over_a_bad_cable(
    tmp_path: Path, requests: Path, seed: int
) -> None:
    remote = Breaking(tmp_path / "device", random.Random(seed))
    answers = tmp_path / "answers.jsonl"
    seen = ask(remote, program(tmp_path, RUNNER), requests, answers)
    assert remote.broken > 0
    assert seen == Counter({f"q{n}": 1 for n in range(40)})
    ids = [
        line["id"]
        for text in answers.read_text().splitlines()
        if "id" in (line := json.loads(text))
    ]
    assert sorted(ids) == sorted(seen)


def test_a_run_outlives_its_connection_and_is_followed_not_started_again(
    tmp_path: Path, requests: Path
) -> None:
    remote = LocalRemote(tmp_path / "device")
    command = program(tmp_path, RUNNER)

    class Unplugged(LocalRemote):
        reads = 0

        def read(self, path: str, offset: int = 0) -> bytes:
            if path.endswith("answers.jsonl"):
                self.reads += 1
                if self.reads == 2:
                    raise DeviceGone("unplugged")
            return super().read(path, offset)

    seen = ask(Unplugged(tmp_path / "device"), command, requests, tmp_path / "a.jsonl")
    assert len(seen) == 40
    sessions = (tmp_path / "a.jsonl").read_text().count("session")
    assert sessions == 1
    assert remote.root == str(tmp_path / "device")


def test_a_device_that_lost_its_answers_gets_them_back(tmp_path: Path, requests: Path) -> None:
    remote = LocalRemote(tmp_path / "device")
    answers = tmp_path / "answers.jsonl"
    kept = '{"id": "q0", ' + REST.replace("[1]", "[9]") + "\n"
    answers.write_text(kept + kept.replace("q0", "q1") + '{"id": "q2", "i')
    seen = ask(remote, program(tmp_path, RUNNER), requests, answers)
    assert seen == Counter({f"q{n}": 1 for n in range(40)})
    held = next(Path(remote.root, "batches").glob("*/answers.jsonl")).read_text()
    assert kept in held
    assert held == answers.read_text() or held.startswith(answers.read_text())


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        ("exit 5", OutOfMemory, "no memory left"),
        ("kill -9 $$", OutOfMemory, "killed by the system"),
        ("echo 'error: no space' >&2; exit 4", DeviceFull, "no space"),
        ("echo 'error: preset' >&2; exit 2", ArtifactError, "preset"),
        ("exit 126", WrongAbi, "cannot run"),
        ("exit 127", RunnerMissing, "does not find"),
    ],
)
def test_each_end_is_its_own_error(
    tmp_path: Path, requests: Path, script: str, error: type[Exception], told: str
) -> None:
    remote = LocalRemote(tmp_path / "device")
    command = program(tmp_path, f"#!/bin/sh\n{script}\n")
    with pytest.raises(error, match=told):
        ask(remote, command, requests, tmp_path / "a.jsonl")


def test_a_missing_runner_and_one_for_another_processor(tmp_path: Path, requests: Path) -> None:
    remote = LocalRemote(tmp_path / "device")
    with pytest.raises(RunnerMissing):
        ask(remote, f"{tmp_path}/nothing", requests, tmp_path / "a.jsonl")
    other = tmp_path / "other"
    other.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44))
    other.chmod(0o755)
    with pytest.raises(WrongAbi):
        ask(remote, str(other), requests, tmp_path / "a.jsonl")


def test_a_runner_that_is_ended_with_its_shell_is_out_of_memory(
    tmp_path: Path, requests: Path
) -> None:
    remote = LocalRemote(tmp_path / "device")
    # Ends its whole session, the shell that would have kept the exit code included.
    command = program(tmp_path, "#!/bin/sh\nkill -9 -$(ps -o sid= -p $$ | tr -d ' ')\n")
    with pytest.raises(OutOfMemory, match="ended"):
        ask(remote, command, requests, tmp_path / "a.jsonl")


def test_an_earlier_batch_is_ended_before_another_begins(tmp_path: Path, requests: Path) -> None:
    remote = LocalRemote(tmp_path / "device")
    other = Path(remote.root, "batches", "other")
    other.mkdir(parents=True)
    detached.start(remote, "sleep 60", str(other))
    said: list[str] = []
    ask(remote, program(tmp_path, RUNNER), requests, tmp_path / "a.jsonl", say=said.append)
    assert detached.state(remote, str(other)).kind == "never"
    assert any("is ended" in line for line in said)
