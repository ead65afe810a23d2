"""What may be wrong with a record in LLaVA's shape: the rules, once, for reader and check.

A reader stops at the first fault, a check counts them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.json_text import dumps

IMAGE_MARK = "<image>"
_MOST_KEYS = 12

Kind = Literal[
    "malformed records",
    "empty turns",
    "wrong roles",
    "mismatched <image> marks",
]


class Fault(NamedTuple):
    """One thing wrong.

    Attributes:
        kind: under which it is counted.
        what: goes on where the place of the record ends ("...: `image` is 3").
        fix: one sentence, or "".
    """

    kind: Kind
    what: str
    fix: str = ""


class Mapped(dict[str, Any]):
    """A record of another dialect in LLaVA's shape; a turn's own role is its `said`.

    Attributes:
        faults: what was wrong with it before.
        key: the field that had its turns.
    """

    def __init__(self, value: dict[str, Any], faults: tuple[Fault, ...], key: str) -> None:
        super().__init__(value)
        self.faults = faults
        self.key = key


#: LLaVA's roles as the other dialects write them.
_OTHER_ROLES = {"human": "user", "gpt": "assistant"}


def faults_in(value: Any) -> Iterator[Fault]:
    """Yield what is wrong with a record, in reading order; nothing if it can be trained on."""
    if not isinstance(value, dict):
        yield Fault("malformed records", f" is {describe(value)}: expected an object.")
        return
    if "conversations" not in value:
        yield Fault(
            "malformed records",
            f" has no `conversations`; its keys are: {keys_of(value)}.",
            "Each record needs `conversations` (LLaVA, ShareGPT) or `messages`, a list of turns; "
            'for other fields name them: data.columns="{question: Q, answer: A, image: I}"',
        )
        return
    key = "conversations"
    if isinstance(value, Mapped):
        key = value.key
        yield from value.faults
    image = value.get("image")
    if image is not None and not images_of(value):
        yield Fault(
            "malformed records",
            f": `image` is {describe(image)}: expected a path, a list of paths or no key.",
        )
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        yield Fault(
            "malformed records",
            f": `{key}` is {describe(turns)}: expected a list of turns.",
            'A turn is {"from": "human", "value": "..."} or {"from": "gpt", "value": "..."}.',
        )
        return
    for index, turn in enumerate(turns):
        yield from _turn_faults(turn, index)
    if len(turns) % 2:
        yield Fault("wrong roles", ": the last turn is a question: expected an answer after it.")
    yield from _mark_faults(turns, 0 if image is None else max(1, len(images_of(value))))


def images_of(value: Mapping[str, Any]) -> list[str]:
    """Return the images that a record in LLaVA's shape names; none where `image` is no path."""
    image = value.get("image")
    names: list[Any] = image if isinstance(image, list) else [image]
    return names if all(isinstance(name, str) and name for name in names) else []


def _turn_faults(turn: Any, index: int) -> Iterator[Fault]:
    if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
        yield Fault(
            "malformed records",
            f", turn {index} is {describe(turn)}: expected `from` and `value`.",
        )
        return
    role = ("human", "gpt")[index % 2]
    if turn["from"] != role:
        first = _OTHER_ROLES["human"] if "said" in turn else "human"
        expected = _OTHER_ROLES[role] if "said" in turn else role
        yield Fault(
            "wrong roles",
            f", turn {index} is from {shown(turn.get('said', turn['from']))}: expected "
            f"{expected!r}.",
            f"Turns alternate, {first} first.",
        )
    text = turn["value"]
    if isinstance(text, bool | int | float | Decimal):
        kind = "true or false" if isinstance(text, bool) else "a number"
        yield Fault(
            "malformed records",
            f", turn {index} is {shown(str(text))}, {kind}: expected text.",
            "Write it in quotes.",
        )
    elif not isinstance(text, str) or not text.strip():
        yield Fault("empty turns", f", turn {index} is empty ({shown(text)}): expected text.")


def _mark_faults(turns: list[Any], images: int) -> Iterator[Fault]:
    marks = [
        turn["value"].count(IMAGE_MARK)
        if isinstance(turn, dict) and isinstance(turn.get("value"), str)
        else 0
        for turn in turns
    ]
    kind: Kind = "mismatched <image> marks"
    at = [index for index, count in enumerate(marks) if count]
    answers = [index for index in at if index % 2]
    if images and not at:
        named = "an `image`" if images == 1 else f"{images} images"
        yield Fault(
            kind,
            f" has {named} but no {IMAGE_MARK} in its first turn.",
            f"Put {IMAGE_MARK} where the image belongs, or remove `image`.",
        )
    elif at and not images:
        yield Fault(
            kind,
            f" says {IMAGE_MARK} but has no `image`.",
            f"Add `image`, or remove {IMAGE_MARK} from the text.",
        )
    elif sum(marks) != images:
        named = "one image" if images == 1 else f"{images} images"
        plural = "" if sum(marks) == 1 else "s"
        yield Fault(
            kind,
            f" has {sum(marks)} {IMAGE_MARK} mark{plural}, in turns {at}, and {named}: expected as "
            "many of both.",
            "Each mark is the place of one image, in the order of the list.",
        )
    elif answers:
        yield Fault(
            kind,
            f" has {IMAGE_MARK} in turn {answers[0]}, an answer: expected it in questions.",
            "A model here reads images and writes none.",
        )


def keys_of(value: Mapping[Any, Any]) -> str:
    """Return the keys of an object for a message: the first twelve, each cut."""
    names = [shown(str(key))[1:-1] for key in itertools.islice(value, _MOST_KEYS)]
    more = len(value) - len(names)
    return (", ".join(names) or "none") + (f" and {more:,} more" if more else "")


def describe(value: Any) -> str:
    """Return a decoded JSON value in at most 60 characters, or what kind of thing it is."""
    if isinstance(value, dict):
        return f"an object with the keys {keys_of(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
