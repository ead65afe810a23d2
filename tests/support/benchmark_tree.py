"""The official folders of all six benchmarks, small, with given pictures under official names.

Everything in them is made up; only names, fields and layouts are those of the releases.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

from made_tables import TABLES
from PIL import Image

from hydra_mobile.benchmarks.shared.tab_separated import write_rows
from hydra_mobile.benchmarks.types import SHORT_ANSWER, Sample

Layout = Literal["mobilevlm", "llava"]
#: Fills the benchmark's own folder, from pictures, with about so many questions.
Builder = Callable[[Path, Sequence[Image.Image], int], None]
PICTURES = [Image.new("RGB", (20, 12), color) for color in ("red", "green", "blue")]
SIX = ("pope", "mme", "gqa", "mmbench", "scienceqa", "textvqa")
MMBENCH_COLUMNS = (
    "index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source",
    "l2-category", "comment", "split",
)  # fmt: skip
# Together and apart, perception and cognition.
_SUBTASKS = ("existence", "posters", "code_reasoning", "OCR")
_APART = ("artwork", "celebrity", "landmark", "posters", "scene")


def build_tree(
    root: Path,
    pictures: Sequence[Image.Image],
    *,
    questions: int = 12,
    layout: Layout = "mobilevlm",
) -> Path:
    """Fill `root` with the six benchmarks and return it.

    Args:
        root: becomes MobileVLM's `benchmark_data`, or LLaVA's `playground/data/eval`.
        pictures: used again and again; each file holds one of them.
        questions: about how many each benchmark has.
        layout: whose names of folders and files.
    """
    pope(root / "pope", pictures, questions)
    mme(root / ("mme" if layout == "mobilevlm" else "MME"), pictures, questions, layout)
    gqa(root / "gqa", pictures, questions, layout)
    table = "mmbench_dev_en_20231003" if layout == "mobilevlm" else "mmbench_dev_20230712"
    mmbench(root / "mmbench" / f"{table}.tsv", pictures, questions)
    scienceqa(root / ("sqa" if layout == "mobilevlm" else "scienceqa"), pictures, questions)
    textvqa(root / "textvqa", pictures, questions)
    return root


def right_answers(samples: Iterable[Sample]) -> dict[str, str]:
    """Return the answers that score everything there is to score."""
    return {sample.key: sample.reference for sample in samples}


def pope(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    splits = ("adversarial", "popular", "random")
    lines: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    asked = []
    for number in range(questions):
        split, within = splits[number % 3], number // 3
        # Two questions to a picture; the older spelling in some.
        image = f"COCO_val2014_{within // 2 + 1:012d}.jpg"
        text = f"Is there a thing {within} in the {'imange' if within % 4 == 3 else 'image'}?"
        label = ("yes", "no")[within % 2]
        lines[split].append(
            {"question_id": within + 1, "image": image, "text": text, "label": label}
        )
        first = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}[split]
        asked.append(_asked(first + within + 1, image, text, split))
        _save(pictures, within // 2, folder / "val2014" / image)
    for split in splits:
        _write_lines(folder / "coco" / f"coco_pope_{split}.json", lines[split])
    asked.sort(key=lambda line: line["question_id"])
    _write_lines(folder / "llava_pope_test.jsonl", asked)


def mme(folder: Path, pictures: Sequence[Image.Image], questions: int, layout: Layout) -> None:
    release = folder / "MME_Benchmark_release_version"
    asked = []
    for number, subtask in enumerate(islice(cycle(_SUBTASKS), (questions + 1) // 2)):
        apart = subtask in _APART
        name = f"{number:04d}.{'png' if subtask == 'code_reasoning' else 'jpg'}"
        image = f"{subtask}/images/{name}" if apart else f"{subtask}/{name}"
        _save(pictures, number, release / image)
        text = release / subtask / ("questions_answers_YN" if apart else "") / f"{number:04d}.txt"
        texts = [f"Is this picture {number}?", f"Does it show number {number + 1}?"]
        # Some of the release's questions have two spaces there.
        ends = (" Please answer yes or no.", "  Please answer yes or no.")
        _write(
            text,
            "".join(
                f"{question}{end}\t{truth}\n"
                for question, end, truth in zip(texts, ends, ("Yes", "No"), strict=True)
            ),
        )
        asked += [_asked(image, image, question, subtask) for question in texts]
    _write_lines(folder / "llava_mme.jsonl", asked)
    if layout == "mobilevlm":
        (folder / "images").symlink_to(release.name, target_is_directory=True)


def gqa(folder: Path, pictures: Sequence[Image.Image], questions: int, layout: Layout) -> None:
    data = folder / "data" if layout == "llava" else folder
    asked, official = [], {}
    for number in range(questions):
        image, key = f"n{100000 + number // 2}", f"20{number:06d}"
        structural = ("query", "verify", "choose", "logical", "compare")[number % 5]
        text = f"What is thing {number}?"
        official[key] = {
            "question": text,
            "answer": ("blue", "yes", "table")[number % 3],
            "fullAnswer": "It is so.",
            "imageId": image,
            "isBalanced": True,
            "groups": {"global": "things", "local": "things-here"},
            "types": {"structural": structural, "semantic": "attr", "detailed": "thing"},
            "semantic": [{"operation": "select", "argument": "thing (1)", "dependencies": []}],
            "semanticStr": "select: thing (1) []",
            "entailed": [],
            "equivalent": [key],
            "annotations": {},
        }
        asked.append(_asked(key, f"{image}.jpg", text, "default"))
        _save(pictures, number // 2, data / "images" / f"{image}.jpg")
    _write(data / "testdev_balanced_questions.json", json.dumps(official))
    _write_lines(folder / "llava_gqa_testdev_balanced.jsonl", asked)


def mmbench(path: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    """Write a table with at least `questions` rows: questions of 2, 3 and 4 options, rotated."""
    rows: list[dict[str, str]] = []
    number = 0
    while len(rows) < questions:
        options = ["red", "blue", "3", "a circle"][: 2 + number % 3]
        picture = encoded(pictures[number % len(pictures)])
        for turn in range(len(options)):
            turned = options[turn:] + options[:turn]
            rows.append(
                {
                    "index": str(number + 100 + 1_000_000 * turn),
                    "question": f"What is\tthing {number}?"
                    if number == 1
                    else f"What is {number}?",
                    "hint": 'It is "here".\nLook.' if number % 2 else "",
                    "answer": "ABCD"[turned.index(options[0])],
                    "category": ("color", "shape")[number % 2],
                    "l2-category": "perception",
                    "image": picture,
                    "source": "made",
                    "split": "dev",
                }
                | dict(zip("ABCD", turned, strict=False))
            )
        number += 1
    # First passes first, as in the release.
    rows.sort(key=lambda row: int(row["index"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, MMBENCH_COLUMNS, rows)


def scienceqa(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    problems, asked = {}, []
    for number in range(questions):
        key, has_image = str(number + 5), number % 2 == 0
        choices = [f"choice {n}" for n in range(2 + number % 4)]
        hint = "Look closely." if number % 3 == 0 else ""
        answer = number % len(choices)
        problems[key] = {
            "question": f"Which one is {number}?",
            "choices": choices,
            "answer": answer,
            "hint": hint,
            "image": "image.png" if has_image else None,
            "task": "closed choice",
            "grade": f"grade{1 + number % 12}",
            "subject": ("natural science", "social science", "language science")[number % 3],
            "topic": "things",
            "category": "Things",
            "skill": "Tell things apart",
            "lecture": "",
            "solution": "",
            "split": "test",
        }
        lettered = "\n".join(f"{a}. {c}" for a, c in zip("ABCDE", choices, strict=False))
        human = f"Context: {hint}\n" * bool(hint) + f"Which one is {number}?\n{lettered}"
        record: dict[str, Any] = {"id": key}
        if has_image:
            record["image"] = f"{key}/image.png"
            human = f"<image>\n{human}"
            _save(pictures, number, folder / "images" / "test" / key / "image.png")
        record["conversations"] = [
            {"from": "human", "value": human},
            {"from": "gpt", "value": "ABCDE"[answer]},
        ]
        asked.append(record)
    _write(folder / "problems.json", json.dumps(problems))
    _write(folder / "pid_splits.json", json.dumps({"train": [], "test": list(problems)}))
    _write(folder / "llava_test_CQM-A.json", json.dumps(asked))


def textvqa(folder: Path, pictures: Sequence[Image.Image], questions: int) -> None:
    entries, asked = [], []
    for number in range(questions):
        # Every third picture has two questions.
        image = f"{number - (number % 3 == 1):016x}"
        text = f"what does sign {number} on the Right say?"
        tokens = [] if number % 5 == 4 else [f"STOP{number}", "Here"]
        entries.append(
            {
                "question": text,
                "question_id": 34602 + number,
                "image_id": image,
                "answers": [f"stop{number}"] * 7 + ["stop", "here", "no"],
                "image_classes": ["Sign"],
                "image_width": 64,
                "image_height": 64,
                "question_tokens": text.rstrip("?").split(),
                "set_name": "val",
            }
        )
        prompt = f"{text.capitalize()}\nReference OCR token: {', '.join(tokens)}"
        asked.append(_asked(image, f"{image}.jpg", prompt, "default"))
        _save(pictures, number, folder / "train_images" / f"{image}.jpg")
    value = {"dataset_type": "val", "dataset_name": "textvqa", "data": entries}
    _write(folder / "TextVQA_0.5.1_val.json", json.dumps(value))
    _write_lines(folder / "llava_textvqa_val_v051_ocr.jsonl", asked)


def _emoji(
    split: str, number: int, kind: str, name: str, answer: str, **meta: Any
) -> dict[str, Any]:
    return {
        "question_id": f"{split}-{number}",
        "image": f"images/{name}.png",
        "text": "?",
        "category": kind,
        "answer": answer,
        "name": name,
        "class": "animal",
        "meta": meta,
    }


def emojiqa(folder: Path, pictures: Sequence[Image.Image], questions: int = 48) -> None:
    """Write two splits with every kind of question, 48 each whatever `questions` says."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split in ("unseen", "seen"):
        lines = []
        for number in range(0, 24, 2):
            how = ("random", "popular", "adversarial")[number // 2 % 3]
            for offset, answer in enumerate(("yes", "no")):
                lines.append(
                    _emoji(split, number + offset, "yesno", f"y{number}", answer, pair=how)
                )
        for number in range(24, 40, 4):
            for turn in range(4):
                options = ["dog", "cat", "bus", "tree"][4 - turn :] + ["dog", "cat", "bus", "tree"][
                    : 4 - turn
                ]
                lines.append(
                    _emoji(
                        split,
                        number + turn,
                        "choice",
                        f"c{number}",
                        "ABCD"[turn],
                        options=options,
                        rotation=turn,
                        group=f"g{number}",
                    )
                )
        lines += [
            _emoji(split, 40 + i, "class", f"k{i}", ("animal", "food")[i % 4 == 0])
            for i in range(8)
        ]
        for number, line in enumerate(lines):
            _save(pictures, number, folder / line["image"])
        path = folder / f"test_{split}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        files[path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "emojiqa.json").write_text(json.dumps({"files": files}))


def encoded(picture: Image.Image) -> str:
    """Return a picture as the base64 text of a JPEG, as MMBench's tables hold it."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=95)
    return base64.b64encode(buffer.getvalue()).decode()


def _asked(key: str | int, image: str, text: str, category: str) -> dict[str, Any]:
    return {
        "question_id": key,
        "image": image,
        "text": text + SHORT_ANSWER,
        "category": category,
    }


def _save(pictures: Sequence[Image.Image], number: int, path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[number % len(pictures)].convert("RGB").save(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    _write(path, "".join(json.dumps(line) + "\n" for line in lines))


BUILDERS: Mapping[str, Builder] = {
    "emojiqa": emojiqa,
    "pope": pope,
    "mme": lambda folder, pictures, count: mme(folder, pictures, count, "mobilevlm"),
    "gqa": lambda folder, pictures, count: gqa(folder, pictures, count, "mobilevlm"),
    "mmbench": lambda folder, pictures, count: mmbench(
        folder / "mmbench_dev_20230712.tsv", pictures, count
    ),
    "scienceqa": scienceqa,
    "textvqa": textvqa,
    **TABLES,
}
