"""What may stand where a benchmark's name is asked for: a file of questions, or a class.

my_test.jsonl            a file; each question is scored as it says, else by exact match
my_test.jsonl:anls       the same with another score
signs.py:Signs           a class in a file
my_package.signs:Signs   a class that can be imported
signs                    a name that an installed package registers (see `GROUP`)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.benchmarks import BENCHMARKS

#: Packages register benchmarks as entry points of this group.
GROUP = "hydra_mobile.benchmarks"
_FILE = re.compile(r"(?P<path>.+\.jsonl?)(?::(?P<score>[\w-]+))?", re.DOTALL)
_CLASS = re.compile(r"(?P<place>[^:]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)", re.DOTALL)


@dataclass(frozen=True)
class FileName:
    """A file of questions.

    Attributes:
        path: the file.
        score: the score that its name asks for; "" for none.
    """

    path: Path
    score: str


@dataclass(frozen=True)
class ClassName:
    """A class of someone's own.

    Attributes:
        place: a Python file, or the name of a module.
        name: of the class in it.
    """

    place: str
    name: str


def own_name(text: str) -> FileName | ClassName | None:
    """Return what a text names that is not a benchmark's name; None where it looks like one."""
    if found := _FILE.fullmatch(text):
        return FileName(Path(found["path"]), found["score"] or "")
    if found := _CLASS.fullmatch(text):
        return ClassName(found["place"], found["name"])
    return None


def with_score(text: str, score: str) -> str:
    """Return the name of a file with a score for what does not name its own; others unchanged."""
    found = own_name(text)
    if score and isinstance(found, FileName) and not found.score:
        return f"{found.path}:{score}"
    return text


def registered() -> dict[str, str]:
    """Return the benchmarks that installed packages register: name -> "module:Object"."""
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def is_known(text: str) -> bool:
    """Say whether a text names a benchmark of ours, a file, a class or a registered one."""
    return text in BENCHMARKS or own_name(text) is not None or text in registered()
