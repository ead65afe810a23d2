from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_remote import LocalRemote

from hydra_mobile.devices.errors import DeviceFull, DeviceGone
from hydra_mobile.devices.push import HASHES, push_changed
from hydra_mobile.devices.remote import ShellResult


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {"a.bin": b"a" * 1000, "deep/b.bin": b"b" * 2000}
    for name, content in made.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(content)
    return {name: tmp_path / "here" / name for name in made}


def test_only_what_changed_is_copied(tmp_path: Path, files: dict[str, Path]) -> None:
    remote = LocalRemote(tmp_path / "device")
    folder = f"{remote.root}/b"
    assert push_changed(remote, files, folder).copied == ("a.bin", "deep/b.bin")
    again = push_changed(remote, files, folder)
    assert again.copied == ()
    assert again.kept == ("a.bin", "deep/b.bin")
    files["a.bin"].write_bytes(b"c" * 1000)
    assert push_changed(remote, files, folder).copied == ("a.bin",)
    assert Path(folder, "a.bin").read_bytes() == b"c" * 1000


def test_a_file_that_was_deleted_or_cut_short_there_is_copied_again(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    remote = LocalRemote(tmp_path / "device")
    folder = f"{remote.root}/b"
    push_changed(remote, files, folder)
    Path(folder, "a.bin").unlink()
    Path(folder, "deep/b.bin").write_bytes(b"b")
    assert push_changed(remote, files, folder).copied == ("a.bin", "deep/b.bin")


def test_a_damaged_list_of_hashes_costs_a_copy_and_nothing_else(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    remote = LocalRemote(tmp_path / "device")
    folder = f"{remote.root}/b"
    push_changed(remote, files, folder)
    Path(folder, HASHES).write_text("{not json")
    assert len(push_changed(remote, files, folder).copied) == 2
    assert set(json.loads(Path(folder, HASHES).read_text())) == set(files)


class CutShort(LocalRemote):
    """Delivers half of every file, as a daemon that dies in the middle does."""

    def push(self, local: Path, remote: str) -> None:
        Path(remote).write_bytes(local.read_bytes()[: local.stat().st_size // 2])


def test_half_a_file_never_takes_the_name_of_the_whole(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    remote = CutShort(tmp_path / "device")
    with pytest.raises(DeviceGone, match=r"500.*1000"):
        push_changed(remote, files, f"{remote.root}/b")
    assert not Path(remote.root, "b", "a.bin").exists()


class Small(LocalRemote):
    """Has a megabyte left."""

    def shell(self, command: str, timeout: float = 60.0) -> ShellResult:
        if command.startswith("df "):
            return ShellResult(0, "Filesystem 1024-blocks Used Available\n/dev/x 9 9 1024 99% /\n")
        return super().shell(command, timeout)


def test_a_full_device_says_how_much_is_needed(tmp_path: Path, files: dict[str, Path]) -> None:
    remote = Small(tmp_path / "device")
    with pytest.raises(DeviceFull, match=r"1\.0 MB.*8\.4 MB"):
        push_changed(remote, files, f"{remote.root}/b")
