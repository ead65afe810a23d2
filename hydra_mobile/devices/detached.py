"""A command on a device that outlives the connection that started it.

It runs in a session of its own; its process id, what it says and, when it has ended, its exit code
are files in its folder. A cable that is pulled out ends nothing, and whoever comes back reads how
far it is.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from hydra_mobile.devices.errors import DeviceFull
from hydra_mobile.devices.remote import Remote

_TAIL = 1500


@dataclass(frozen=True)
class State:
    """How a command is.

    Attributes:
        kind: "running"; "ended", with an exit code; "gone": it ended and left no code, because
            something ended the shell around it too; "never": it was not started in this folder.
        code: its exit code, when it ended.
        said: the end of its standard error.
    """

    kind: Literal["running", "ended", "gone", "never"]
    code: int | None = None
    said: str = ""


def start(remote: Remote, command: str, folder: str) -> None:
    """Start `command` in `folder`, where nothing may be running.

    Raises:
        DeviceGone: the connection broke; it may have started: ask `state`.
        DeviceFull: not even the process id could be written.
    """
    inner = f"echo $$ > pid; {command} > out.log 2> err.log; echo $? > code.part; mv code.part code"
    # setsid: the daemon of the connection ends its own children when it ends. toybox has it.
    outer = (
        f"cd {shlex.quote(folder)} && rm -f pid code code.part && "
        f"(setsid sh -c {shlex.quote(inner)} < /dev/null > /dev/null 2>&1 &) && "
        # Only now: who asks for the state next finds the process.
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && break; sleep 0.1; done; [ -s pid ]"
    )
    said = remote.shell(outer)
    if said.code:
        raise DeviceFull(
            f"Nothing can be started in {folder} on the device: "
            f"{said.output.strip() or 'its process id could not be written'}",
            "Free some space on it, and check that the folder may be written.",
        )


def state(remote: Remote, folder: str) -> State:
    """Return how the command is that was last started in `folder`.

    Raises:
        DeviceGone: the connection broke.
    """
    quoted = shlex.quote(folder)
    said = remote.shell(
        f"cd {quoted} 2>/dev/null || exit 0; "
        'p=$(cat pid 2>/dev/null); echo "pid=$p"; '
        # A process that has ended may stay as a zombie, which `kill -0` still finds.
        '[ -n "$p" ] && kill -0 "$p" 2>/dev/null && ! grep -q "^State:.*Z" /proc/$p/status '
        "2>/dev/null && echo alive; "
        # Last: what has ended has left its code.
        'echo "code=$(cat code 2>/dev/null)"; echo said=; '
        f"tail -c {_TAIL} err.log 2>/dev/null"
    ).output
    head, _, tail = said.partition("said=\n")
    facts = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    if facts.get("code", "").isdigit():
        return State("ended", int(facts["code"]), tail.strip())
    if not facts.get("pid", ""):
        return State("never")
    return State("running" if "alive" in head.split() else "gone", None, tail.strip())


def stop(remote: Remote, folder: str) -> None:
    """End what runs in `folder`, if anything does: the whole session of it."""
    remote.shell(
        f"cd {shlex.quote(folder)} 2>/dev/null || exit 0; p=$(cat pid 2>/dev/null); "
        '[ -n "$p" ] && kill -9 -"$p" 2>/dev/null; rm -f pid; true'
    )
