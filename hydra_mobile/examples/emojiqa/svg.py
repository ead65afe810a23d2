"""SVG drawings of people's own folders: looked at before they are drawn, and drawn in a process.

The renderer reads files that a drawing names, and a drawing nested deep enough ends the process
that draws it.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from xml.parsers import expat

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.json_text import dumps

#: Elements inside each other; drawings of the known artists have at most ten.
DEEPEST = 64
#: Longer side over shorter side.
WIDEST = 16.0
MOST_BYTES = 4_000_000
_SECONDS = 20.0
_MOST_MEMORY = 2 << 30
_REPLACE = "Remove or replace the file."
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_URL = re.compile(r"url\(\s*['\"]?\s*([^)'\"]*)")
_IMPORT = re.compile(r"@import", re.IGNORECASE)


def require_drawable(name: str, content: bytes) -> None:
    """Raise unless a drawing keeps to itself and to sizes that can be drawn.

    Args:
        name: for messages.
        content: the file's bytes.

    Raises:
        DataError: it is no SVG, too large, nested too deep or too long for its width, has entities
            of its own, or names another file.
    """
    if len(content) > MOST_BYTES:
        raise _refused(name, f"has {len(content):,} bytes", f"at most {MOST_BYTES:,}")
    _Look(name).at(content)


class _Look:
    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype

    def at(self, content: bytes) -> None:
        try:
            self._parser.Parse(content, True)
        except (expat.ExpatError, UnicodeError, ValueError) as error:
            raise DataError(
                f"{self._name} cannot be drawn: it is no SVG ({error}).", _REPLACE
            ) from error

    def _doctype(
        self, name: str, system: str | None, public: str | None, has_internal: bool
    ) -> None:
        if has_internal:
            raise _refused(self._name, "declares entities of its own", "none")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(self._name, "is nested too deep", f"at most {DEEPEST} elements")
        if self._depth == 1:
            self._require_size(attributes)
        for key, value in attributes.items():
            if key.rpartition(":")[2] == "href" and not value.strip().startswith("#"):
                raise _refused(self._name, f"names {value.strip()[:40]!r}", "only parts of itself")
            self._require_own(value)

    def _end(self, tag: str) -> None:
        self._depth -= 1

    def _text(self, text: str) -> None:
        # Of a <style>.
        self._require_own(text)

    def _require_own(self, text: str) -> None:
        for found in _URL.findall(text):
            if not found.strip().startswith("#"):
                raise _refused(self._name, f"names {found.strip()[:40]!r}", "only parts of itself")
        if _IMPORT.search(text):
            raise _refused(self._name, "imports a style sheet", "only parts of itself")

    def _require_size(self, attributes: dict[str, str]) -> None:
        sides = [attributes.get("width", ""), attributes.get("height", "")]
        numbers = [float(m.group()) for side in sides if (m := _NUMBER.match(side.strip()))]
        if len(numbers) < 2 or any(side.strip().endswith("%") for side in sides):
            numbers = [float(n) for n in _NUMBER.findall(attributes.get("viewBox", ""))[2:4]]
        if len(numbers) < 2:
            return
        low, high = sorted(numbers)
        if not low > 0 or not high / low <= WIDEST:
            raise _refused(
                self._name,
                f"is {numbers[0]:g} x {numbers[1]:g}",
                f"sides of at most 1 : {WIDEST:g}",
            )


def _refused(name: str, found: str, expected: str) -> DataError:
    return DataError(f"{name} cannot be drawn: it {found}, expected {expected}.", _REPLACE)


class SvgProcess:
    """Draws in a process of its own, started anew after a drawing that ended it.

    Safe to use from several threads; one draws at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def draw(self, name: str, content: bytes, size: int) -> bytes:
        """Return the drawing as PNG, `size` pixels wide.

        Raises:
            DataError: it cannot be drawn, takes too long, or ends the process that draws it.
        """
        with self._lock:
            process = self._started()
            late = threading.Timer(_SECONDS, process.kill)
            late.start()
            try:
                found = _exchange(process, content, size)
            except (OSError, ValueError):
                found = None
            finally:
                late.cancel()
            if found is None:
                _end(process)
                self._process = None
                raise DataError(
                    f"{name} cannot be drawn: the renderer ended over it, or took more than "
                    f"{_SECONDS:g} s.",
                    _REPLACE,
                )
        answer, picture = found
        if answer["error"]:
            raise DataError(f"{name} cannot be drawn: {answer['error']}.", _REPLACE)
        return picture

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(Path(__file__).with_name("svg_worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._process)
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _exchange(
    process: subprocess.Popen[bytes], content: bytes, size: int
) -> tuple[dict[str, str], bytes] | None:
    """Send a drawing and return what came back; None where the process has ended."""
    if process.stdin is None or process.stdout is None:
        return None
    header = {"bytes": len(content), "size": size, "memory": _MOST_MEMORY}
    process.stdin.write(dumps(header).encode() + b"\n" + content)
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        return None
    answer = json.loads(line)
    picture = process.stdout.read(answer["bytes"])
    return (answer, picture) if len(picture) == answer["bytes"] else None
