"""Made-up tables of the benchmarks that are published as one, with the columns of the releases."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hydra_mobile.benchmarks.shared.tab_separated import write_rows

Builder = Callable[[Path, Sequence[Image.Image], int], None]
#: Number of a question -> its cells, without index and picture.
Cells = Callable[[int], dict[str, str]]
OPTIONS = {"A": "a bus", "B": "a tram", "C": "a bicycle", "D": "a boat"}


def base64_of(picture: Image.Image, number: int = 0) -> str:
    """Return a picture as a table's cell; another number makes other pixels."""
    buffer = io.BytesIO()
    changed = picture.convert("RGB")
    changed.putpixel((0, 0), (number % 256, number // 256 % 256, 7))
    changed.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def table(name: str, cells: Cells, *, together: int = 2) -> Builder:
    """Return what writes a tsv; `together` questions share a picture, by the first one's index."""

    def build(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(questions):
            first = number - number % together
            image = str(first) if number != first else ""
            image = image or base64_of(pictures[first % len(pictures)], first)
            rows.append({"index": str(number), "image": image} | cells(number))
        write_rows(folder / name, list(rows[0]), rows)

    return build


def choice(number: int) -> dict[str, str]:
    return {
        "question": f"What is in picture {number}?",
        "answer": "ABCD"[number % 4],
        "category": ("vehicles", "places")[number // 2 % 2],
    } | OPTIONS


def chart(number: int) -> dict[str, str]:
    return {
        "question": f"How tall is bar {number}?",
        "answer": (str(number + 1), "12.5%", "Blue")[number % 3],
        "split": ("test_human", "test_augmented")[number % 2],
    }


def page(number: int) -> dict[str, str]:
    answers = [f"invoice number {number}", f"No. {number} of 2020"]
    return {"question": f"Which page is {number}?", "answer": str(answers)}


def ocr(number: int) -> dict[str, str]:
    formula = number % 3 == 2
    kind = "Handwritten Mathematical Expression Recognition" if formula else "Doc-oriented VQA"
    answers = [f"x ^ 2 + {number}"] if formula else [f"Total {number}", "Sum"]
    return {"question": f"What is written in {number}?", "answer": str(answers), "category": kind}


def course(number: int) -> dict[str, str]:
    common = {"split": "dev" if number % 6 == 5 else "validation"}
    if number % 3:
        return choice(number) | common
    blank = dict.fromkeys("ABCD", "")
    return choice(number) | blank | {"answer": f"{number}.5"} | common


def hallusion(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    """Write sets of two figures with two questions each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(questions - questions % 4):
        place, figure, question = number // 4, number // 2 % 2, number % 2
        category = ("VD_chart", "VS_map")[place % 2]
        picture = pictures[number // 2 % len(pictures)]
        rows.append(
            {
                "index": f"{category}_{place}_{figure}_{question}",
                "image": base64_of(picture, number // 2),
                "question": f"Is bar {question} of set {place} taller?",
                "answer": ("Yes", "No")[(figure + question) % 2],
                "category": category[:2],
                "l2-category": category[3:],
            }
        )
    write_rows(folder / "HallusionBench.tsv", list(rows[0]), rows)


def _people(number: int) -> list[dict[str, Any]]:
    given = [f"thing {number}"] * 6 + ["a thing", "unanswerable", "no", "stuff"]
    return [{"answer": text, "answer_id": n + 1} for n, text in enumerate(given)]


def vqav2(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    (folder / "val2014").mkdir(parents=True, exist_ok=True)
    asked, told = [], []
    for number in range(questions):
        image = number // 2 + 1
        pictures[image % len(pictures)].save(folder / f"val2014/COCO_val2014_{image:012d}.jpg")
        key = image * 1000 + number % 2
        asked.append({"question_id": key, "image_id": image, "question": f"What is {number}?"})
        kind = ("yes/no", "number", "other")[number % 3]
        told.append({"question_id": key, "answers": _people(number), "answer_type": kind})
    for name, key, entries in (
        ("v2_OpenEnded_mscoco_val2014_questions.json", "questions", asked),
        ("v2_mscoco_val2014_annotations.json", "annotations", told),
    ):
        (folder / name).write_text(json.dumps({key: entries}))


def vizwiz(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    (folder / "val").mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(questions):
        name = f"VizWiz_val_{number:08d}.jpg"
        pictures[number % len(pictures)].save(folder / "val" / name)
        kind = ("other", "unanswerable")[number % 2]
        entry = {"image": name, "question": f"What is this {number}?", "answers": _people(number)}
        entries.append(entry | {"answer_type": kind, "answerable": 1})
    (folder / "val.json").write_text(json.dumps(entries))


TABLES: dict[str, Builder] = {
    "mmstar": table("MMStar.tsv", choice),
    "ai2d": table("AI2D_TEST.tsv", choice),
    "chartqa": table("ChartQA_TEST.tsv", chart),
    "docvqa": table("DocVQA_VAL.tsv", page),
    "infovqa": table("InfoVQA_VAL.tsv", page),
    "ocrbench": table("OCRBench.tsv", ocr, together=1),
    "realworldqa": table("RealWorldQA.tsv", choice),
    "mmmu": table("MMMU_DEV_VAL.tsv", course, together=1),
    "vqav2": vqav2,
    "vizwiz": vizwiz,
    "hallusionbench": hallusion,
    "seedbench": table("SEEDBench_IMG.tsv", choice),
}
