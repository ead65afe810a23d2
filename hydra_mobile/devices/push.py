"""Copies to a device only what changed there, each file whole or not at all.

A list of hashes beside the files says what they are; the device reports the sizes, so that a
file that was deleted there is copied again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.temporary import working_folder
from hydra_mobile.devices.errors import DeviceFull, DeviceGone
from hydra_mobile.devices.remote import Remote

HASHES = "hashes.json"
#: Left free on the device beside what is copied: answers have to be written too.
_SPARE_BYTES = 8 << 20

#: Receives (bytes done, bytes to do, file).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Pushed:
    """What `push_changed` did: names copied, names that were there, bytes copied."""

    copied: tuple[str, ...]
    kept: tuple[str, ...]
    bytes: int


def push_changed(
    remote: Remote,
    files: Mapping[str, Path],
    folder: str,
    progress: Progress = lambda done, total, name: None,
) -> Pushed:
    """Make `folder` on the device hold `files`, copying what is missing or different.

    Interrupted, the next call goes on with the files that are left.

    Args:
        remote: the device.
        files: name below `folder` -> file here.
        folder: on the device; other files in it stay.
        progress: called after each file.

    Raises:
        DeviceGone: the connection broke.
        DeviceFull: there is no room; says how much is needed and free.
    """
    wanted = {name: (sha256_of(path), path.stat().st_size) for name, path in files.items()}
    held = _hashes(remote, folder)
    sizes = _sizes(remote, folder, list(files))
    changed = [name for name in files if (held.get(name), sizes.get(name)) != wanted[name]]
    kept = tuple(name for name in files if name not in changed)
    if not changed:
        return Pushed((), kept, 0)
    folders = sorted({str(Path(folder, name).parent) for name in changed})
    _do(remote, f"mkdir -p {' '.join(map(shlex.quote, folders))}", f"{folder} cannot be made")
    total = sum(wanted[name][1] for name in changed)
    # A file that is replaced stays until the new one is whole.
    _require_room(remote, folder, total + _SPARE_BYTES)
    done = 0
    for name in changed:
        if name in held:
            # First: a list that is older than the file must not vouch for it.
            held.pop(name)
            _write_hashes(remote, folder, held)
        target = f"{folder}/{name}"
        _push_whole(remote, files[name], target, wanted[name][1])
        held[name] = wanted[name][0]
        _write_hashes(remote, folder, held)
        done += wanted[name][1]
        progress(done, total, name)
    return Pushed(tuple(changed), kept, total)


def free_bytes(remote: Remote, folder: str) -> int | None:
    """Return the bytes that are free where `folder` lies; None where the device does not tell."""
    # POSIX: one line a file system, its fourth field the free blocks of 1024 bytes.
    said = remote.shell(f"df -P -k {shlex.quote(folder)}")
    lines = [line.split() for line in said.output.splitlines() if line.strip()]
    if said.code or len(lines) < 2 or len(lines[-1]) < 4 or not lines[-1][3].isdigit():
        return None
    return 1024 * int(lines[-1][3])


def _push_whole(remote: Remote, local: Path, target: str, size: int) -> None:
    temporary = f"{target}.part"
    try:
        remote.push(local, temporary)
    except DeviceGone:
        # A full disk ends the transfer as a broken cable does; only the device can tell.
        free = _free_if_there(remote, target)
        if free is not None and free < _SPARE_BYTES // 8:
            raise _full(size, free, target) from None
        raise
    found = _sizes(remote, "", [temporary]).get(temporary)
    if found != size:
        free = _free_if_there(remote, target)
        if free is not None and free < _SPARE_BYTES // 8:
            raise _full(size, free, target)
        raise DeviceGone(f"{local} arrived with {found} of {size} bytes.", "Run the same again.")
    quoted = f"{shlex.quote(temporary)} {shlex.quote(target)}"
    # Executable, because a runner may be among them; `adb push` keeps a mode that we do not know.
    _do(remote, f"chmod 755 {shlex.quote(temporary)} && mv -f {quoted}", f"{target} is not there")


def _free_if_there(remote: Remote, target: str) -> int | None:
    try:
        return free_bytes(remote, str(Path(target).parent))
    except DeviceGone:
        return None


def _require_room(remote: Remote, folder: str, needed: int) -> None:
    free = free_bytes(remote, folder)
    if free is not None and free < needed:
        raise _full(needed, free, folder)


def _full(needed: int, free: int, where: str) -> DeviceFull:
    return DeviceFull(
        f"The device has {free / 1e6:.1f} MB free at {where}; {needed / 1e6:.1f} MB are needed.",
        "Free some space on it, for example by deleting bundles of earlier runs there.",
    )


def _hashes(remote: Remote, folder: str) -> dict[str, str]:
    try:
        held = json.loads(remote.read(f"{folder}/{HASHES}"))
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in held.items()} if isinstance(held, dict) else {}


def _write_hashes(remote: Remote, folder: str, held: Mapping[str, str]) -> None:
    with working_folder("push") as work:
        listed = work / HASHES
        listed.write_text(dumps(dict(held)), encoding="utf-8")
        target = f"{folder}/{HASHES}"
        remote.push(listed, f"{target}.part")
        _do(remote, f"mv -f {shlex.quote(target + '.part')} {shlex.quote(target)}", "no list")


def _sizes(remote: Remote, folder: str, names: list[str]) -> dict[str, int]:
    """Return the sizes of the files that are there."""
    if not names:
        return {}
    paths = {f"{folder}/{name}" if folder else name: name for name in names}
    sizes: dict[str, int] = {}
    quoted = list(map(shlex.quote, paths))
    # Few at a time: a command line has an end. toybox and coreutils both know `stat -c`.
    for start in range(0, len(quoted), 100):
        said = remote.shell(f"stat -c '%s %n' {' '.join(quoted[start : start + 100])} 2>/dev/null")
        for line in said.output.splitlines():
            size, _, path = line.partition(" ")
            if path in paths and size.isdigit():
                sizes[paths[path]] = int(size)
    return sizes


def _do(remote: Remote, command: str, failure: str) -> None:
    said = remote.shell(command)
    if said.code:
        if "No space left" in said.output:
            raise DeviceFull(f"{failure}: {said.output.strip()}", "Free some space on the device.")
        raise DeviceGone(f"{failure}: {said.output.strip() or f'exit code {said.code}'}")
