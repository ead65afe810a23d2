"""A benchmark as small as one can be, to show what a new one needs, and data for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from hydra_mobile.benchmarks.base import SHORT_ANSWER, Benchmark, DataFile, Sample
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.shared.answer_files import read_json_lines

LINE = "toy_benchmark:Colors"


class Colors(Benchmark):
    """One-word questions about colors."""

    name = "colors"
    title = "Colors"
    about = "which color has the thing?"
    source = "https://example.org/colors"
    licenses = {"Colors": "CC0-1.0"}  # noqa: RUF012
    suffix = SHORT_ANSWER

    def splits(self) -> Sequence[str]:
        return ("test",)

    def files(self) -> list[DataFile]:
        return [DataFile(self.places.expected("test.jsonl"), "questions", required=True)]

    def read(self, split: str) -> Iterator[Sample]:
        path = self.places.require(f"{split}.jsonl", what="questions and answers")
        for record in read_json_lines(path):
            line = record.value
            image = FilePicture(path.parent / line["image"])
            yield Sample(
                line["id"], image, line["question"], split, line["kind"], line["answer"], image.key
            )


def colors(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    """Write data for `Colors`, two questions to a picture."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(questions):
        image = f"{number // 2}.png"
        pictures[number // 2 % len(pictures)].save(folder / image)
        line = {"id": f"q{number}", "image": image, "question": f"Which color is thing {number}?"}
        kind = ("thing", "animal")[number // 2 % 2]
        lines.append(line | {"answer": ("red", "green", "blue")[number % 3], "kind": kind})
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
