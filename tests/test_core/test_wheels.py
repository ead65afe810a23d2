import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.errors import ArtifactError, HydraError

CONTENT = b"a wheel"
SHA = hashlib.sha256(CONTENT).hexdigest()
NAME = "thing-1.0-py3-none-any.whl"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A pip that writes `content` (nothing if None) under NAME, and counts its calls."""
    state: dict[str, Any] = {"content": CONTENT, "calls": 0, "stderr": ""}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        state["calls"] += 1
        if state["content"] is None:
            return subprocess.CompletedProcess(command, 1, "", state["stderr"])
        (Path(command[command.index("-d") + 1]) / NAME).write_bytes(state["content"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    return state


def test_downloads_once_then_needs_no_network(pip: dict[str, Any], tmp_path: Path) -> None:
    wheel = fetch_wheel("thing==1.0", SHA, NAME)
    assert wheel == tmp_path / "wheels" / NAME
    assert wheel.read_bytes() == CONTENT
    assert fetch_wheel("thing==1.0", SHA, NAME) == wheel
    assert pip["calls"] == 1


def test_an_altered_download_is_refused_and_not_kept(pip: dict[str, Any], tmp_path: Path) -> None:
    pip["content"] = CONTENT[:-1]
    with pytest.raises(ArtifactError) as caught:
        fetch_wheel("thing==1.0", SHA, NAME)
    found = hashlib.sha256(CONTENT[:-1]).hexdigest()
    assert all(text in str(caught.value) for text in (NAME, SHA, found))
    assert list((tmp_path / "wheels").iterdir()) == []


def test_an_altered_cache_is_refused_with_the_mend(pip: dict[str, Any]) -> None:
    wheel = fetch_wheel("thing==1.0", SHA, NAME)
    wheel.write_bytes(CONTENT[:3])
    with pytest.raises(ArtifactError, match="thing-1") as caught:
        fetch_wheel("thing==1.0", SHA, NAME)
    assert str(wheel) in caught.value.fix
    assert pip["calls"] == 1


def test_what_pip_said_is_shown(pip: dict[str, Any]) -> None:
    pip["content"], pip["stderr"] = None, "ERROR: no such index"
    with pytest.raises(HydraError, match=r"(?s)thing==1\.0.*no such index"):
        fetch_wheel("thing==1.0", SHA, NAME)
