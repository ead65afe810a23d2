"""One set of conversations in every form that training reads."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Talk:
    """A conversation: its id, an image's name or "", a system turn or "", and its rounds."""

    id: str
    image: str
    system: str
    rounds: tuple[tuple[str, str], ...]


TALKS = (
    Talk("a", "one.png", "", (("Which color is it?", "red"), ("Sure?", "Yes, red."))),
    Talk("b", "two.png", "Answer in a word.", (("What is it?", "a circle"),)),
    Talk("c", "", "", (("Name a fruit: 水果?", "Apple."), ("Another", "Pear"))),
    Talk("d", "", "Be brief.", (("Why?", "Because."),)),
    Talk("e", "one.png", "", (("Is there a circle?", "no"),)),
)


def draw(folder: Path) -> None:
    """Write the images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, color in (("one.png", "red"), ("two.png", "blue")):
        Image.new("RGB", (40, 30), color).save(folder / name)


def llava(talk: Talk) -> dict[str, Any]:
    turns = []
    for number, (question, answer) in enumerate(talk.rounds):
        if number == 0:
            lead = f"{talk.system}\n\n" if talk.system else ""
            question = ("<image>\n" if talk.image else "") + lead + question
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": talk.id, **({"image": talk.image} if talk.image else {}), "conversations": turns}


def sharegpt(talk: Talk) -> dict[str, Any]:
    turns = [{"from": "system", "value": talk.system}] if talk.system else []
    for number, (question, answer) in enumerate(talk.rounds):
        mark = "<image>" if talk.image and number == 0 else ""
        turns += [{"from": "user", "value": mark + question}, {"from": "model", "value": answer}]
    images = {"images": [talk.image]} if talk.image else {}
    return {"id": talk.id, "conversations": turns, **images}


def role_content(talk: Talk) -> dict[str, Any]:
    """ShareGPT with `role` and `content`, the image's place left open."""
    turns = [{"role": "system", "content": talk.system}] if talk.system else []
    for question, answer in talk.rounds:
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": answer})
    return {"id": talk.id, "conversations": turns, **({"image": talk.image} if talk.image else {})}


def messages(talk: Talk, image: Any = None) -> dict[str, Any]:
    """OpenAI's and TRL's messages, with typed parts."""
    text = [{"type": "text", "text": talk.system}]
    turns: list[dict[str, Any]] = [{"role": "system", "content": text}] if talk.system else []
    for number, (question, answer) in enumerate(talk.rounds):
        parts = [{"type": "image"}] if talk.image and number == 0 else []
        turns.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
        turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    images = [talk.image if image is None else image] if talk.image else []
    return {"id": talk.id, "messages": turns, "images": images}


def inline(talk: Talk) -> dict[str, Any]:
    """OpenAI's messages with the image's address inside a part, and plain strings elsewhere."""
    record = messages(talk)
    images = record.pop("images")
    for turn in record["messages"]:
        parts = turn["content"]
        if images and parts[0]["type"] == "image":
            parts[0] = {"type": "image_url", "image_url": {"url": images[0]}}
        else:
            turn["content"] = parts[0]["text"]
    return record


def write_forms(folder: Path) -> dict[str, Path]:
    """Write the conversations in every form; return form -> its path."""
    draw(folder)
    forms: dict[str, Path] = {}

    def lines(name: str, make: Callable[[Talk], dict[str, Any]]) -> None:
        forms[name] = folder / f"{name}.jsonl"
        text = "".join(json.dumps(make(talk)) + "\n" for talk in TALKS)
        forms[name].write_text(text)

    forms["llava-json"] = folder / "llava.json"
    forms["llava-json"].write_text(json.dumps([llava(talk) for talk in TALKS]))
    lines("llava-lines", llava)
    lines("messages", messages)
    lines("messages-inline", inline)
    lines("sharegpt", sharegpt)
    lines("role-content", role_content)
    forms["parquet"] = folder / "chats.parquet"
    write_parquet(forms["parquet"], folder)
    shards = folder / "shards"
    shards.mkdir()
    forms["parquet-shards"] = shards
    write_parquet(shards / "part-0.parquet", folder, TALKS[:2])
    write_parquet(shards / "part-1.parquet", folder, TALKS[2:])
    forms["tar"] = folder / "chats.tar"
    write_tar(forms["tar"], folder)
    return forms


def write_parquet(path: Path, folder: Path, talks: tuple[Talk, ...] = TALKS) -> None:
    """Write messages with their images inside, as `datasets` stores them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def inside(talk: Talk) -> dict[str, Any] | None:
        if not talk.image:
            return None
        return {"bytes": (folder / talk.image).read_bytes(), "path": talk.image}

    rows = [messages(talk, inside(talk)) for talk in talks]
    part = pa.struct([("type", pa.string()), ("text", pa.string())])
    turn = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("id", pa.string()), ("messages", pa.list_(turn)), ("images", pa.list_(image))]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_tar(path: Path, folder: Path) -> None:
    """Write LLaVA records as webdataset samples, images inside."""
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for number, talk in enumerate(TALKS):
            if talk.image:
                add(f"{number:06d}.png", (folder / talk.image).read_bytes())
            add(f"{number:06d}.json", json.dumps(llava(talk)).encode())
