"""The answers of one benchmark on disk: appended as they come, each question once.

While workers are at work each appends to a file of its own, `answers-0.jsonl` and so on; gathering
puts them into `answers.jsonl`, in the order of the questions. A process may be killed at any
moment: a line cut short is left out and its question answered again, as is a line that was altered
since. A question that two files hold is kept once. Answers are read from the disk whenever they are
needed, never held.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.integrity import checked_line, is_sound_line
from hydra_mobile.core.json_text import dumps, loads
from hydra_mobile.data.answer_line import AnswerLine

ANSWERS = "answers.jsonl"


def read_answers(file: Path) -> Iterator[AnswerLine]:
    """Yield the answers of a file, each key once; a line that a kill cut short is left out.

    Raises:
        DataError: a whole line lacks a key of an answer.
    """
    seen: set[str] = set()
    for _, _, answer in _lines(file):
        if answer["key"] not in seen:
            seen.add(answer["key"])
            yield AnswerLine.from_dict(answer)


class LineCount:
    """Counts the lines of a growing file, reading only what is new."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = self._lines = 0

    def count(self) -> int:
        """Return the number of whole lines so far."""
        try:
            with self._file.open("rb") as handle:
                handle.seek(self._at)
                while block := handle.read(1 << 20):
                    self._lines += block.count(b"\n")
                    self._at += len(block)
        except FileNotFoundError:
            pass
        return self._lines


class PredictionLog:
    """The answers in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / ANSWERS

    def part(self, number: int) -> Path:
        """Return the file of a worker."""
        return self.folder / f"answers-{number}.jsonl"

    def parts(self) -> list[Path]:
        """Return the files of workers that were not gathered yet."""
        return sorted(self.folder.glob("answers-*.jsonl"))

    def keys(self) -> set[str]:
        """Return the keys of the gathered answers."""
        return {answer["key"] for _, _, answer in _lines(self.file)}

    def read(self) -> Iterator[AnswerLine]:
        """Yield the gathered answers, in the order of the questions."""
        return read_answers(self.file)

    def append(self, number: int) -> Appender:
        """Open the file of a worker for appending; only one process may hold it."""
        return Appender(self.part(number))

    def gather(self) -> int:
        """Put all answers into `answers.jsonl`, in order, and remove the workers' files.

        No worker may be at work. Killed in between it loses nothing: the parts go last.

        Returns:
            The number of answers.
        """
        parts = self.parts()
        places: dict[str, tuple[int, Path, int, int]] = {}
        sources = [self.file, *parts]
        found = 0
        for file in sources:
            for start, length, answer in _lines(file):
                found += 1
                # The first answer stays: nothing is scored twice, nothing changes afterwards.
                places.setdefault(answer["key"], (answer["index"], file, start, length))
        ordered = sorted(places.values(), key=lambda place: place[0])
        if parts or found != len(places) or _cut_short(self.file):
            _write(self.file, ordered)
        for part in parts:
            part.unlink()
        return len(places)


class Appender:
    """Appends answers to a file, each by one write that reaches the system at once."""

    def __init__(self, file: Path) -> None:
        # A line that a kill cut short must not swallow the next one.
        kept = _cut_short(file)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if kept:
            os.write(self._file, b"\n")

    def add(self, answer: AnswerLine) -> None:
        """Append one answer, its index known."""
        value = checked_line(answer.to_dict())
        line = dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
        content = memoryview(line.encode())
        while content:
            content = content[os.write(self._file, content) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _lines(file: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield start, length and answer of every whole line."""
    try:
        handle: BinaryIO = file.open("rb")
    except FileNotFoundError:
        return
    with handle:
        at = 0
        for line in handle:
            start, at = at, at + len(line)
            try:
                answer = loads(line)
            except (ValueError, RecursionError):
                continue
            whole = (
                isinstance(answer, dict)
                and {"key", "index", "text"} <= answer.keys()
                and isinstance(answer["key"], str)
            )
            if whole and line.endswith(b"\n") and is_sound_line(answer):
                yield start, len(line), answer


def _cut_short(file: Path) -> bool:
    """Say whether the last line has no end."""
    try:
        with file.open("rb") as handle:
            if not handle.seek(0, os.SEEK_END):
                return False
            handle.seek(-1, os.SEEK_END)
            return handle.read(1) != b"\n"
    except FileNotFoundError:
        return False


def _write(file: Path, places: list[tuple[int, Path, int, int]]) -> None:
    """Copy lines from where they are to `file`, atomically."""
    handles: dict[Path, BinaryIO] = {}
    try:
        with write_atomically(file) as temporary, temporary.open("wb") as out:
            for _, source, start, length in places:
                if source not in handles:
                    handles[source] = source.open("rb")
                handles[source].seek(start)
                out.write(handles[source].read(length))
    finally:
        for handle in handles.values():
            handle.close()
