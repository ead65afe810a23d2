"""The demo app answers a batch: scripts named `am` and `pidof` play Android and the app."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from local_remote import REST, LocalRemote
from test_device_batch import ask_launch

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.devices.app import ACTIVITY, AppLaunch
from hydra_mobile.devices.batch_format import REQUESTS
from hydra_mobile.devices.errors import DeviceFull, OutOfMemory, RunnerMissing

# `am start -W -n ACTIVITY --es NAME VALUE ... --ei threads N` starts the app, which runs on.
AM = """#!/bin/sh
case "$1" in
  force-stop) kill $(cat {folder}/pid); exit 0;;
esac
echo "$*" >> {folder}/started
while [ $# -gt 0 ]; do case "$1" in --es) eval "$2='$3'"; shift;; esac; shift; done
( {app} ) > /dev/null 2>&1 &
echo $! > {folder}/pid
"""
PIDOF = """#!/bin/sh
kill -0 $(cat {folder}/pid) 2>/dev/null
"""
#: Answers what is missing, as the real one does.
APP = """
for id in $(sed 's/.*"id": "\\([^"]*\\)".*/\\1/' "$requests"); do
  grep -q "\\"id\\": \\"$id\\"" "$answers" && continue
  printf '{"id": "%s", REST\\n' "$id" >> "$answers"
  sleep 0.02
done
echo '{"end": {"answered": 9}}' >> "$answers"
""".replace("REST", REST)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    folder = tmp_path / "requests"
    folder.mkdir()
    lines = [json.dumps({"id": f"q{n}"}) for n in range(20)]
    (folder / REQUESTS).write_text("\n".join(lines) + "\n")
    return folder


def phone(tmp_path: Path, app: str) -> AppLaunch:
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("am", AM), ("pidof", PIDOF)):
        script = text.replace("{folder}", str(tools)).replace("{app}", app)
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    remote = LocalRemote(tmp_path / "device", path=str(tools))
    return AppLaunch(remote, "/bundles/b", "digest", 3, batches=f"{remote.root}/bench")


def ask(launch: AppLaunch, requests: Path, answers: Path) -> Counter[str]:
    return ask_launch(launch.remote, launch, requests, answers)


def test_the_app_answers_every_question_once(tmp_path: Path, requests: Path) -> None:
    launch = phone(tmp_path, APP)
    assert ask(launch, requests, tmp_path / "a.jsonl") == Counter({f"q{n}": 1 for n in range(20)})
    (started,) = (tmp_path / "bin" / "started").read_text().splitlines()
    assert started.startswith(f"start -W -n {ACTIVITY} --es requests {launch.batches}/")
    assert started.endswith("--es bundle /bundles/b --ei threads 3")


def test_an_app_that_android_ends_is_started_again(tmp_path: Path, requests: Path) -> None:
    # After five answers of each life it is gone, as with another app in the foreground.
    mortal = APP.replace("sleep 0.02", "n=$((n + 1)); [ $n -lt 5 ] || exit 1")
    launch = phone(tmp_path, f"n=0\n{mortal}")
    assert ask(launch, requests, tmp_path / "a.jsonl") == Counter({f"q{n}": 1 for n in range(20)})
    assert len((tmp_path / "bin" / "started").read_text().splitlines()) == 4


def test_an_app_that_android_ends_without_an_answer_is_out_of_memory(
    tmp_path: Path, requests: Path
) -> None:
    with pytest.raises(OutOfMemory, match="ended"):
        ask(phone(tmp_path, "exit 1"), requests, tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (2, ArtifactError, "no such bundle"),
        (4, DeviceFull, "could not write"),
        (5, OutOfMemory, "no memory left"),
        (6, HydraError, "It was stopped on the device"),
    ],
)
def test_what_the_app_says_is_its_own_error(
    tmp_path: Path, requests: Path, code: int, error: type[Exception], told: str
) -> None:
    end = json.dumps({"end": {"error": "no such bundle", "code": code}})
    launch = phone(tmp_path, f"echo '{end}' >> $answers")
    with pytest.raises(error, match=told):
        ask(launch, requests, tmp_path / "a.jsonl")
    # Mended, the same batch goes on; the line of the run before is not taken for its end.
    launch = phone(tmp_path, APP)
    assert ask(launch, requests, tmp_path / "a.jsonl") == Counter({f"q{n}": 1 for n in range(20)})


def test_an_app_that_is_not_installed(tmp_path: Path, requests: Path) -> None:
    launch = phone(tmp_path, "")
    (tmp_path / "bin" / "am").write_text(
        "#!/bin/sh\necho 'Error: Activity class {...} does not exist.'\n"
    )
    with pytest.raises(RunnerMissing, match="adb install"):
        ask(launch, requests, tmp_path / "a.jsonl")
