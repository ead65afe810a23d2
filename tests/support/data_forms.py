"""One set of conversations in every form that training reads."""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Talk:
    """A conversation: its id, an image's name or "", a system turn or "", and its rounds.

    Those that are placed have several images, or one in a later question; "<image>" in the rounds
    is where they are.
    """

    id: str
    image: str
    system: str
    rounds: tuple[tuple[str, str], ...]
    placed: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """The names of all."""
        return [self.image] if self.image else list(self.placed)


TALKS = (
    Talk("a", "one.png", "", (("Which color is it?", "red"), ("Sure?", "Yes, red."))),
    Talk("b", "two.png", "Answer in a word.", (("What is it?", "a circle"),)),
    Talk("c", "", "", (("Name a fruit: 水果?", "Apple."), ("Another", "Pear"))),
    Talk("d", "", "Be brief.", (("Why?", "Because."),)),
    Talk("e", "one.png", "", (("Is there a circle?", "no"),)),
)


#: With conversations about several images, and in other places than before the first question.
PLACED = (
    *TALKS,
    Talk(
        "f",
        "",
        "",
        (
            ("<image><image>What differs?", "the color"),
            ("And is <image> red?", "It is."),
            ("Why?", "Paint."),
        ),
        ("one.png", "two.png", "one.png"),
    ),
    Talk(
        "g",
        "",
        "Be brief.",
        (("<image>Is <image>\n the same?", "no"), ("Sure? <image>", "Yes")),
        ("two.png", "one.png", "two.png"),
    ),
    Talk("h", "", "", (("Hello", "Hi"), ("<image>What is it?", "a circle")), ("two.png",)),
    Talk("i", "", "Look.", (("<image><image>Same?", "no"),), ("one.png", "two.png")),
)
_MARK = "<image>"


def draw(folder: Path) -> None:
    """Write the images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, color in (("one.png", "red"), ("two.png", "blue")):
        Image.new("RGB", (40, 30), color).save(folder / name)


def llava(talk: Talk) -> dict[str, Any]:
    """A line break behind every mark, images that open the first question before the system's."""
    turns = []
    for number, (question, answer) in enumerate(talk.rounds):
        if number == 0:
            marks = len(_leading(question)) + bool(talk.image)
            rest = question.removeprefix(_MARK * len(_leading(question)))
            question = _MARK * marks + (f"{talk.system}\n\n" if talk.system else "") + rest
        question = question.replace(_MARK, f"{_MARK}\n")
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    named = talk.images[0] if len(talk.images) == 1 else talk.images
    return {"id": talk.id, **({"image": named} if named else {}), "conversations": turns}


def _leading(question: str) -> list[str]:
    """The marks that open a question."""
    return list(itertools.takewhile(_MARK.__eq__, filter(None, _parts(question))))


def _parts(question: str) -> list[str]:
    """Texts and marks."""
    return re.split(f"({_MARK})", question)


def sharegpt(talk: Talk) -> dict[str, Any]:
    turns = [{"from": "system", "value": talk.system}] if talk.system else []
    for number, (question, answer) in enumerate(talk.rounds):
        mark = _MARK if talk.image and number == 0 else ""
        # A line break behind a mark is of the mark.
        value = mark + question.replace(f"{_MARK}\n", f"{_MARK}\n\n")
        turns += [{"from": "user", "value": value}, {"from": "model", "value": answer}]
    images = {"images": talk.images} if talk.images else {}
    return {"id": talk.id, "conversations": turns, **images}


def role_content(talk: Talk) -> dict[str, Any]:
    """ShareGPT with `role` and `content`, the images' place left open where they come first."""
    turns = [{"role": "system", "content": talk.system}] if talk.system else []
    first = _MARK * len(talk.placed)
    said = "".join(question for question, _ in talk.rounds)
    opens = talk.rounds[0][0].startswith(first) and said.count(_MARK) == len(talk.placed)
    for question, answer in talk.rounds:
        text = question.removeprefix(first) if opens else question
        text = text.replace(f"{_MARK}\n", f"{_MARK}\n\n")
        turns.append({"role": "user", "content": text})
        turns.append({"role": "assistant", "content": answer})
    named = {"image": talk.images} if talk.images else {}
    return {"id": talk.id, "conversations": turns, **named}


def messages(talk: Talk, images: Any = None) -> dict[str, Any]:
    """OpenAI's and TRL's messages, with typed parts."""
    text = [{"type": "text", "text": talk.system}]
    turns: list[dict[str, Any]] = [{"role": "system", "content": text}] if talk.system else []
    for number, (question, answer) in enumerate(talk.rounds):
        parts = [{"type": "image"}] if talk.image and number == 0 else []
        for part in filter(None, _parts(question)):
            parts.append({"type": "image"} if part == _MARK else {"type": "text", "text": part})
        turns.append({"role": "user", "content": parts})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return {"id": talk.id, "messages": turns, "images": talk.images if images is None else images}


def inline(talk: Talk) -> dict[str, Any]:
    """OpenAI's messages with the image's address inside a part, and plain strings elsewhere."""
    record = messages(talk)
    images = record.pop("images")
    for turn in record["messages"]:
        parts = turn["content"]
        for place, part in enumerate(parts):
            if part["type"] == "image":
                parts[place] = {"type": "image_url", "image_url": {"url": images.pop(0)}}
        if len(parts) == 1 and parts[0]["type"] == "text":
            turn["content"] = parts[0]["text"]
    return record


def write_forms(folder: Path, talks: tuple[Talk, ...] = TALKS) -> dict[str, Path]:
    """Write the conversations in every form; return form -> its path."""
    draw(folder)
    forms: dict[str, Path] = {}

    def lines(name: str, make: Callable[[Talk], dict[str, Any]]) -> None:
        forms[name] = folder / f"{name}.jsonl"
        text = "".join(json.dumps(make(talk)) + "\n" for talk in talks)
        forms[name].write_text(text)

    forms["llava-json"] = folder / "llava.json"
    forms["llava-json"].write_text(json.dumps([llava(talk) for talk in talks]))
    lines("llava-lines", llava)
    lines("messages", messages)
    lines("messages-inline", inline)
    lines("sharegpt", sharegpt)
    lines("role-content", role_content)
    forms["parquet"] = folder / "chats.parquet"
    write_parquet(forms["parquet"], folder, talks)
    shards = folder / "shards"
    shards.mkdir()
    forms["parquet-shards"] = shards
    write_parquet(shards / "part-0.parquet", folder, talks[:2])
    write_parquet(shards / "part-1.parquet", folder, talks[2:])
    forms["tar"] = folder / "chats.tar"
    write_tar(forms["tar"], folder, talks)
    return forms


def write_parquet(path: Path, folder: Path, talks: tuple[Talk, ...] = TALKS) -> None:
    """Write messages with their images inside, as `datasets` stores them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def inside(talk: Talk) -> list[dict[str, Any]]:
        return [{"bytes": (folder / name).read_bytes(), "path": name} for name in talk.images]

    rows = [messages(talk, inside(talk)) for talk in talks]
    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    turn = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("id", pa.string()), ("messages", pa.list_(turn)), ("images", pa.list_(image))]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_tar(path: Path, folder: Path, talks: tuple[Talk, ...] = TALKS) -> None:
    """Write LLaVA records as webdataset samples, images inside."""
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for number, talk in enumerate(talks):
            for place, name in enumerate(talk.images):
                kind = f"{place}.png" if talk.placed else "png"
                add(f"{number:06d}.{kind}", (folder / name).read_bytes())
            add(f"{number:06d}.json", json.dumps(llava(talk)).encode())
