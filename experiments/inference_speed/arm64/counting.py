"""Asks a program under qemu, and cuts what it executed into one piece for each question.

Both programs answer one question after another and write a line behind each; the counter notes how
much was executed before every write.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.inference_speed.arm64.builds import counter, llama_loop
from experiments.inference_speed.arm64.processors import Processor
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.devices.emulator import SYSTEM_ROOT
from hydra_mobile.devices.native_build import ARM64, native_runner

#: What is counted, in the order of the counter's columns.
KINDS = ("all", "dot", "matrix")
Counts = dict[str, int]


@dataclass(frozen=True)
class Question:
    """What is asked once.

    Attributes:
        name: of what is measured by it.
        ids: of the prompt, behind the picture none.
        new_tokens: how many are chosen, the prompt's included.
        picture: a file that is read behind the ids.
    """

    name: str
    ids: tuple[int, ...]
    new_tokens: int = 1
    picture: Path | None = None


@dataclass(frozen=True)
class Answers:
    """What one process answered.

    Attributes:
        counts: executed instructions of each question, in its order.
        ids: the tokens chosen.
        facts: what the program says about itself.
    """

    counts: list[Counts]
    ids: list[list[int]]
    facts: Any


def ask_runner(
    bundle: Path, processor: Processor, asked: Sequence[Question], work: Path
) -> Answers:
    """Ask hydra-runner for arm64 Linux, on one thread."""
    requests, answers = work / "requests.jsonl", work / "answers.jsonl"
    lines = []
    for number, question in enumerate(asked):
        line: dict[str, Any] = {"id": str(number), "before": question.ids, "stop": False}
        line["max_new_tokens"] = question.new_tokens
        if question.picture:
            # A key for each, or the prefix in the cache is taken for it.
            line |= {"image": str(question.picture), "image_key": str(number), "after": []}
        lines.append(dumps(line) + "\n")
    requests.write_text("".join(lines))
    answers.unlink(missing_ok=True)
    command = [str(native_runner(ARM64, print)), "--bundle", str(bundle), "--threads", "1"]
    command += ["--requests", str(requests), "--answers", str(answers)]
    marks = _run(command, processor, work)[1]
    session, *found, _ = map(json.loads, answers.read_text().splitlines())
    # Behind the last answer comes a line that says so.
    return Answers(pieces(marks, len(asked), 1), [a["ids"] for a in found], session["session"])


def ask_llama_cpp(
    file: Path, processor: Processor, asked: Sequence[Question], context: int, work: Path
) -> Answers:
    """Ask llama.cpp for arm64 Linux, on one thread; it reads no pictures."""
    longest = max(len(question.ids) for question in asked)
    command = [str(llama_loop(processor)), str(file), str(context), str(longest)]
    text = "".join(f"{q.new_tokens} {' '.join(map(str, q.ids))}\n" for q in asked)
    out, marks = _run(command, processor, work, text)
    system, *found = out.splitlines()
    return Answers(pieces(marks, len(asked)), [[*map(int, a.split())] for a in found], system)


def pieces(marks: str, questions: int, behind: int = 0) -> list[Counts]:
    """Return the counts of each question from the counter's file.

    Args:
        marks: a line `DESCRIPTOR ALL DOT MATRIX` for each write, executed until then.
        questions: how many were answered, a write for each behind one before the first.
        behind: writes behind the last answer.

    Raises:
        HydraError: there are fewer writes, or something else was written between them.
    """
    rows = [[int(number) for number in line.split()] for line in marks.splitlines()]
    rows = rows[-(questions + 1 + behind) :][: questions + 1]
    if len(rows) != questions + 1 or len({row[0] for row in rows}) != 1:
        raise HydraError("The program wrote something else than one line for each question.")
    return [
        dict(zip(KINDS, (b - a for a, b in zip(one[1:], two[1:], strict=True)), strict=True))
        for one, two in pairwise(rows)
    ]


def _run(
    command: Sequence[str], processor: Processor, work: Path, text: str = ""
) -> tuple[str, str]:
    """Run a program; return what it wrote and the counter's file."""
    marks = work / "marks"
    emulator = [str(shutil.which("qemu-aarch64")), "-cpu", processor.qemu, "-L", str(SYSTEM_ROOT)]
    emulator += ["-plugin", f"{counter()},out={marks}"]
    done = subprocess.run([*emulator, *command], input=text, capture_output=True, text=True)
    if done.returncode:
        raise HydraError(f"{command[0]} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout, marks.read_text()
