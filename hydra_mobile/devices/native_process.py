"""A running native runner: its methods over standard input and output.

Each message is a line of JSON followed by the raw float32 values that its key `floats` counts;
`native/README.md` lists them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.json_text import dumps

#: Exit codes of the runner that mean that bundle or program cannot be used.
_UNUSABLE = (2, 3)
_NO_MEMORY = 5
#: By SIGKILL, a name that Windows lacks.
_KILLED = -9
_TAIL = 2000

Array = NDArray[np.float32]


class NativeProcess:
    """One runner that serves until it is closed or this process ends.

    Args:
        command: starts it; `--serve` and what else it needs included.

    Raises:
        ArtifactError: it cannot use its bundle; what it said is in the message.
        HydraError: it ended in another way.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._input = cast(BinaryIO, self._process.stdin)
        self._output = cast(BinaryIO, self._process.stdout)
        # Its standard input ends with this process, and so it ends, whatever ended this process.
        self._ended = weakref.finalize(self, _end, self._process)
        header, _ = self._receive()
        #: The runner's facts about itself: threads, load_seconds, machine and more.
        self.session: dict[str, Any] = header["session"]
        #: The most memory that the runner has held, as it says itself.
        self.peak_memory_bytes = int(self.session["peak_memory_bytes"])

    def call(self, operation: str, values: Array | None = None, **header: Any) -> Array:
        """Run one operation; return its flat result.

        Args:
            operation: "encode", "embed" or "decode".
            values: float32 of any shape.
            header: keys that the operation needs.

        Raises:
            HydraError: the runner refused, or is no longer there.
        """
        given = b"" if values is None else np.ascontiguousarray(values, "<f4").tobytes()
        line = dumps({"do": operation, **header, "floats": len(given) // 4})
        try:
            self._input.write(line.encode() + b"\n" + given)
            self._input.flush()
        except BrokenPipeError:
            self._fail()
        answer, result = self._receive()
        if "error" in answer:
            raise HydraError(f"The native runner: {answer['error']}")
        self.peak_memory_bytes = int(answer["peak_memory_bytes"])
        return result

    def close(self) -> None:
        """End the runner."""
        self._ended()

    def _receive(self) -> tuple[dict[str, Any], Array]:
        line = self._output.readline()
        if not line.endswith(b"\n"):
            self._fail()
        header = json.loads(line)
        expected = 4 * int(header["floats"])
        data = self._output.read(expected)
        if len(data) != expected:
            self._fail()
        return header, np.frombuffer(data, "<f4").astype(np.float32)

    def _fail(self) -> NoReturn:
        """Raise what ended the runner."""
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-_TAIL:]
        said = said.removeprefix("error: ") or "nothing"
        if code in _UNUSABLE:
            raise ArtifactError(said)
        if code in (_KILLED, _NO_MEMORY):
            how = "had no memory left" if code == _NO_MEMORY else "was killed"
            raise HydraError(
                f"The native runner {how}. The system does that to a process that takes the last "
                "memory.",
                "Free some memory, or use a smaller preset or max_context.",
            )
        raise HydraError(f"The native runner ended with exit code {code}; it said: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream:
            try:
                stream.close()
            except BrokenPipeError:  # it has gone already
                continue
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
