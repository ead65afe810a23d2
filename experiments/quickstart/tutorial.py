"""How long the tutorial takes somebody with twenty records of their own.

    python -m experiments.quickstart.tutorial --work runs/tutorial

Draws twenty-six images of colored shapes, six of them for the test set, and runs the commands of
`docs/tutorial.md` one after the other as they are written, each a process of its own in a new
folder. What wants a phone or builds the app is left out.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from experiments.shared.markdown import table
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("tutorial.json")
PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ELSEWHERE = ("devices", "app")
_COLORS = {"red": "#d02020", "green": "#20a040", "blue": "#2040d0", "yellow": "#e0c020"}
_SHAPES = ("circle", "square", "triangle")
_TRAINED, _ALL = 20, 26
_QUESTION = "What is in the image?"


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of the page's commands that this machine can run."""
    for block in _BLOCK.findall(page):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "hydra-mobile" and words[1] not in _ELSEWHERE:
                yield words


def draw(folder: Path) -> None:
    """Write images, `train.jsonl` and `test.jsonl` in the forms that the tutorial shows."""
    (folder / "images").mkdir(parents=True)
    train, test = [], []
    for number in range(_ALL):
        color, shape = list(_COLORS)[number % 4], _SHAPES[number % 3]
        image, answer = f"images/{number}.png", f"a {color} {shape}"
        _shape(shape, _COLORS[color], 60 + 7 * (number % 9), 30 + 5 * (number % 7)).save(
            folder / image
        )
        if number < _TRAINED:
            turns = [
                {"role": "user", "content": _QUESTION},
                {"role": "assistant", "content": answer},
            ]
            train.append({"messages": turns, "images": [image]})
        else:
            test.append({"question": _QUESTION, "image": image, "answer": answer})
    for name, records in (("train", train), ("test", test)):
        lines = "".join(dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def _shape(shape: str, color: str, x: int, y: int) -> Image.Image:
    image = Image.new("RGB", (320, 240), "white")
    pen = ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse((x, y, x + 120, y + 120), fill=color)
    elif shape == "square":
        pen.rectangle((x, y, x + 120, y + 120), fill=color)
    else:
        pen.polygon(((x, y + 120), (x + 120, y + 120), (x + 60, y)), fill=color)
    return image


def timed(words: list[str], folder: Path) -> float:
    """Run a command in `folder` and return its seconds.

    Raises:
        HydraError: it failed; with the end of what it said.
    """
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HydraError(f"`{shlex.join(words)}` failed:\n{(done.stdout + done.stderr)[-1500:]}")
    return time.perf_counter() - began


def render(value: Mapping[str, Any]) -> str:
    """Return the table of `tutorial.json`."""
    lines = [[f"`{row['command']}`", f"{row['seconds']:.0f}"] for row in value["commands"]]
    return table(["command", "seconds"], [*lines, ["all", f"{value['seconds']:.0f}"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/tutorial"), help="a new folder")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    before = vars(environment.collect())
    draw(given.work)
    rows = []
    for words in commands(PAGE.read_text(encoding="utf-8")):
        rows.append({"command": shlex.join(words), "seconds": round(timed(words, given.work), 1)})
        print(dumps(rows[-1]), flush=True)
    scores = read_json(given.work / "report" / "report.json", "the tutorial's report")
    value = {
        "what": "docs/tutorial.md with twenty records, every command as it is written",
        "environment": before,
        "commands": rows,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "right": {
            system["name"]: score["value"]
            for system in scores["systems"]
            for score in system["scores"]
            if score["kind"] == "all"
        },
    }
    write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
