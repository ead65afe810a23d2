"""How others write conversations, brought into LLaVA's shape; recognized by looking at a record.

Known are OpenAI's and TRL's `messages`, ShareGPT in its dialects, LLaVA, and plain columns that
`data.columns` names. What is wrong with a record is said with the names that the record has.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest
from hydra_mobile.data.validate import IMAGE_MARK, Fault, Mapped, describe, keys_of

#: Writes or names an image of the given bytes and returns its path.
Keep = Callable[[bytes], str]

#: Fields of a record that `data.columns` may give another name.
FIELDS = ("id", "messages", "conversations", "images", "question", "answer", "system")

_HUMAN = ("human", "user")
_MODEL = ("gpt", "assistant", "model")
_SYSTEM = ("system", "developer")
_LLAVA_ROLES = {"human", "gpt"}


@dataclass(frozen=True)
class Columns:
    """Field -> the name that it has in the data, for those that differ."""

    names: Mapping[str, str]

    @classmethod
    def of(cls, names: Mapping[str, str]) -> Columns:
        """Return checked columns; `image` is another word for `images`.

        Raises:
            ConfigError: a field is not one of `FIELDS`.
        """
        names = {"images" if field == "image" else field: name for field, name in names.items()}
        for field in names:
            if field not in FIELDS:
                raise ConfigError(
                    f"`data.columns` names the field {field!r}.", nearest(field, FIELDS)
                )
        return cls(names)

    def renamed(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return a record with the fields' own names."""
        if not self.names:
            return value
        found = {f: value[name] for f, name in self.names.items() if value.get(name) is not None}
        other = {k: v for k, v in value.items() if k not in self.names.values()}
        if "images" in found:
            other.pop("image", None)
        return {**other, **found}


def conversation_of(value: Any, columns: Columns, keep: Keep) -> tuple[Any, str]:
    """Return a decoded record in LLaVA's shape, and the name of its dialect.

    Args:
        value: what the container gave.
        columns: other names of fields.
        keep: takes the bytes of an image that is in the record itself.

    Returns:
        The record itself where it has that shape or no known one, for which the dialect is "".
    """
    if not isinstance(value, dict):
        return value, ""
    given = columns.renamed(value)
    turns = given.get("messages")
    if turns is not None:
        return _mapped(given, "messages", turns, keep), "messages"
    turns = given.get("conversations")
    if turns is not None:
        if given is value and _is_llava(value, turns):
            return value, "LLaVA"
        # A list of images, as LLaVA's later data have it, is mapped as others' are.
        listed = given is value and _is_llava({**value, "image": None}, turns)
        return _mapped(given, "conversations", turns, keep), "LLaVA" if listed else "ShareGPT"
    if "answer" in columns.names:
        return _flat(given, columns, keep), "columns"
    return value, ""


def _is_llava(value: dict[str, Any], turns: Any) -> bool:
    if "images" in value or isinstance(value.get("image"), list | dict | bytes):
        return False
    if not isinstance(turns, list):
        return True
    # Anything but known roles of other dialects is left to the checks of LLaVA's shape.
    return not any(
        isinstance(turn, dict)
        and ("role" in turn or (turn.get("from") in (*_HUMAN, *_MODEL, *_SYSTEM)
             and turn.get("from") not in _LLAVA_ROLES))
        for turn in turns
    )  # fmt: skip


def _flat(given: dict[str, Any], columns: Columns, keep: Keep) -> Any:
    missing = [columns.names.get(f, f) for f in ("question", "answer") if f not in given]
    if missing:
        fault = Fault(
            "malformed records",
            f" has no `{missing[0]}`, which `data.columns` names; its keys are: {keys_of(given)}.",
        )
        return Mapped({**given, "conversations": []}, (fault,), "conversations")
    turns = [
        {"role": "user", "content": given["question"]},
        {"role": "assistant", "content": given["answer"]},
    ]
    if given.get("system"):
        turns.insert(0, {"role": "system", "content": given["system"]})
    return _mapped(given, "conversations", turns, keep)


def _mapped(given: dict[str, Any], key: str, turns: Any, keep: Keep) -> Any:
    reader = _Reader(keep)
    for named in ("images", "image"):
        if given.get(named) is not None:
            reader.waiting = reader.pictures_in(given[named], named)
            break
    if not isinstance(turns, list):
        fixed: Any = turns
    else:
        fixed = reader.turns(turns)
        first = fixed[0] if fixed and isinstance(fixed[0], dict) else {}
        # What is no text stays what it is, and is told.
        if reader.waiting and not reader.marks and isinstance(first.get("value"), str):
            # Where nothing says where images are, they are before the first question.
            marks = f"{IMAGE_MARK}\n" * len(reader.waiting)
            first["value"] = f"{marks}{first['value']}"
    result: dict[str, Any] = {"id": given["id"]} if "id" in given else {}
    pictures = [*reader.pictures, *reader.waiting]
    if pictures:
        result["image"] = pictures[0] if len(pictures) == 1 else pictures
    return Mapped({**result, "conversations": fixed}, tuple(reader.faults), key)


class _Reader:
    """Collects the pictures, the turns and the faults of one record."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        #: Those of the record's own field that no mark has had yet, in order.
        self.waiting: list[str] = []
        #: In the order of the marks.
        self.pictures: list[str] = []
        self.faults: list[Fault] = []
        self.marks = 0

    def pictures_in(self, value: Any, key: str) -> list[str]:
        """Return the pictures of a field: one or a list, of paths, bytes or both."""
        pictures = []
        for item in value if isinstance(value, list) else [value]:
            found = self._picture(item)
            if found:
                pictures.append(found)
            else:
                self._fault(f": `{key}` holds {describe(item)}: expected a path or an image.")
        return pictures

    def _mark(self, count: int = 1) -> None:
        """Give the next pictures of the record's own field to marks."""
        self.marks += count
        self.pictures += self.waiting[:count]
        del self.waiting[:count]

    def _picture(self, item: Any) -> str:
        if isinstance(item, dict):
            # A column of images, or OpenAI's {"url": ...}.
            names = ("bytes", "path", "url", "image", "data")
            item = next((item[name] for name in names if item.get(name)), None)
        if isinstance(item, bytes):
            return self._keep(item)
        if not isinstance(item, str):
            return ""
        if item.startswith("data:"):
            return self._inline(item)
        if item.startswith(("http://", "https://")):
            self._fault(
                f" has its image at {item[:60]}: expected a file.",
                "Download the images and name their files.",
            )
            return item
        return item.removeprefix("file://")

    def _inline(self, address: str) -> str:
        try:
            return self._keep(base64.b64decode(address.partition(",")[2], validate=True))
        except (binascii.Error, ValueError):
            self._fault(" has an image in a data: address that is not base64.")
            return "?"

    def turns(self, turns: list[Any]) -> list[Any]:
        """Return turns with `from` and `value`; what is not a turn stays as it is."""
        fixed: list[Any] = []
        system = ""
        for number, turn in enumerate(turns):
            if not isinstance(turn, dict):
                fixed.append(turn)
                continue
            role = turn.get("role", turn.get("from"))
            content = turn["content"] if "content" in turn else turn.get("value")
            text = self._text(content, number)
            if role in _SYSTEM and number == 0:
                if text is not None and not isinstance(text, str):
                    self._fault(f", turn 0 ({role}) is {describe(text)}: expected text.")
                system = text if isinstance(text, str) else ""
                continue
            fixed.append({"from": _role(role), "value": text, "said": role})
        if system.strip() and fixed and isinstance(fixed[0], dict):
            # As templates do that have no place for it: the template's own start is in every
            # bundle, a record's is not.
            first = fixed[0]["value"]
            if isinstance(first, str):
                # Pictures that open the question stay in front.
                lead = _LEADING_MARKS.match(first)
                marks = lead[0].count(IMAGE_MARK) if lead else 0
                first = first[lead.end() :] if lead else first
                fixed[0]["value"] = f"{IMAGE_MARK}\n" * marks + f"{system.strip()}\n\n{first}"
        return fixed

    def _text(self, content: Any, number: int) -> Any:
        if isinstance(content, dict):
            content = [content]
        if not isinstance(content, list):
            self._mark(content.count(IMAGE_MARK) if isinstance(content, str) else 0)
            return content
        text = ""
        for part in content:
            if isinstance(part, str):
                self._mark(part.count(IMAGE_MARK))
                text += part
                continue
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("image", "image_url", "input_image"):
                text += f"{IMAGE_MARK}\n"
                inside = next((part[n] for n in ("image_url", *_INSIDE) if part.get(n)), None)
                if inside is None:
                    self._mark()
                else:
                    self.marks += 1
                    self.pictures += self.pictures_in(inside, "content")
            elif kind in ("text", "input_text", "output_text"):
                said = part.get("text", "")
                if not isinstance(said, str):
                    self._fault(
                        f", turn {number} has a part whose `text` is {describe(said)}: expected "
                        "text."
                    )
                    continue
                self._mark(said.count(IMAGE_MARK))
                text += said
            else:
                self._fault(
                    f", turn {number} has a part {describe(part)}: expected text or an image."
                )
        return text.rstrip("\n") if text.endswith(f"{IMAGE_MARK}\n") else text

    def _fault(self, what: str, fix: str = "") -> None:
        self.faults.append(Fault("malformed records", what, fix))


_INSIDE = ("image", "path", "url", "bytes", "data")
_LEADING_MARKS = re.compile(rf"\s*(?:{IMAGE_MARK}\s*)+")


def _role(role: Any) -> Any:
    return "human" if role in _HUMAN else "gpt" if role in _MODEL else role
