"""A folder of questions that a device answers: `requests.jsonl` and the pictures beside it.

The format is the native runner's (`native/README.md`); the app's benchmark mode reads the same.
Pictures are written as RGB PNG, so that every device decodes the same pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.models.pictures import as_rgb
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor, Prompt

REQUESTS, ANSWERS, PICTURES = "requests.jsonl", "answers.jsonl", "pictures"


@dataclass(frozen=True)
class Ask:
    """One question.

    Attributes:
        key: names it; once in a folder.
        question: without the template.
        image: opens its picture; None without one.
        image_key: equal keys mean equal pictures.
        max_new_tokens: most tokens of the answer.
        stop: end at a stop token; off for timing a fixed length.
        prompt: its token ids; None to tokenize `question`.
        turn: how a device reads a picture's file, see `pictures.as_rgb`.
    """

    key: str
    question: str
    image: Callable[[], Image.Image] | None = None
    image_key: str = ""
    max_new_tokens: int = 16
    stop: bool = True
    prompt: Prompt | None = None
    turn: bool = True


def write_requests(
    folder: Path,
    asks: Iterable[Ask],
    processor: MobileVLMProcessor,
    recipe: ImagePreprocessing | None = None,
) -> None:
    """Write a folder of requests; pictures that are there are not written again.

    Args:
        folder: made if it is not there.
        asks: the questions, those about one picture one after another.
        processor: of the bundle; gives the token ids.
        recipe: how pictures are prepared where that is not the bundle's own way: they are then
            written as raw pixels, float32 [3, H, W] or [K, 3, H, W] in a file `*.f32`.
    """
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / REQUESTS) as temporary, temporary.open("w") as out:
        for ask in asks:
            out.write(dumps(_line(folder, ask, processor, recipe)) + "\n")


def _line(
    folder: Path, ask: Ask, processor: MobileVLMProcessor, recipe: ImagePreprocessing | None
) -> dict[str, Any]:
    prompt = ask.prompt or processor.prompt(ask.question, with_image=ask.image is not None)
    line: dict[str, Any] = {
        "id": ask.key,
        # For the app, which has a template and a tokenizer of its own.
        "question": ask.question,
        "before": prompt.before,
        "after": prompt.after,
        "max_new_tokens": ask.max_new_tokens,
        "stop": ask.stop,
    }
    if ask.image is not None:
        name = _picture(folder, ask, recipe)
        line |= {"image": name, "image_key": ask.image_key or name, "turn": ask.turn}
        if processor.image.tiles is not None:
            # The native runner has no tokenizer.
            line["tiles"] = processor.tile_ids
    return line


def _picture(folder: Path, ask: Ask, recipe: ImagePreprocessing | None) -> str:
    assert ask.image is not None
    digest = hashlib.sha256(f"{ask.image_key} {recipe}".encode()).hexdigest()[:20]
    name = f"{PICTURES}/{digest}.{'f32' if recipe else 'png'}"
    file = folder / name
    if not file.is_file():
        picture = ask.image()
        with write_atomically(file) as temporary:
            if recipe:
                pixels = recipe(picture)
                temporary.write_bytes(np.ascontiguousarray(pixels, "<f4").tobytes())
            else:
                as_rgb(picture, turn=ask.turn).save(temporary, format="PNG")
    return name


def files_of(folder: Path) -> Mapping[str, Path]:
    """Return name -> file of everything in a folder of requests that a device needs."""
    names = [REQUESTS]
    for line in (folder / REQUESTS).read_text().splitlines():
        name = json.loads(line).get("image")
        if name and name not in names:
            names.append(name)
    return {name: folder / name for name in dict.fromkeys(names)}


def ids_of(folder: Path) -> list[str]:
    """Return the ids of a folder's questions, in order."""
    return [str(json.loads(line)["id"]) for line in (folder / REQUESTS).read_text().splitlines()]
