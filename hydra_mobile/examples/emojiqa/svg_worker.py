"""The process that draws SVGs: a line of JSON and a drawing in, a line of JSON and a PNG out.

Run as a file, so that it imports nothing but the renderer.
"""

from __future__ import annotations

import contextlib
import json
import sys

import resvg_py


def main() -> None:
    """Draw until standard input ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        asked = json.loads(line)
        _limit(asked["memory"])
        text = source.read(asked["bytes"])
        picture, error = b"", ""
        try:
            # System fonts would make the picture depend on the machine.
            picture = bytes(
                resvg_py.svg_to_bytes(
                    svg_string=text.decode(), width=asked["size"], skip_system_fonts=True
                )
            )
        except (ValueError, OSError) as failed:
            error = " ".join(str(failed).split())[:200] or type(failed).__name__
        answer = {"bytes": len(picture), "error": error}
        target.write(json.dumps(answer).encode() + b"\n" + picture)  # noqa: TID251
        target.flush()


def _limit(memory: int) -> None:
    # Not on Windows.
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    main()
