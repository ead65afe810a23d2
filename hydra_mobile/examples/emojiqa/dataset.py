"""EmojiQA: a small visual question answering set with real artwork, built in seconds from a seed.

`build_emojiqa` writes one folder: pictures, LLaVA training records for both stages, test questions
for names seen in training, names never seen, and (with folders of other artists' drawings) seen
names drawn by an unseen artist.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import PIL

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import json_if_sound, require_free_space, sha256_of
from hydra_mobile.core.folders import folder_atomically, require_replaceable
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.marks import EMOJIQA
from hydra_mobile.examples.emojiqa.contact_sheet import Cell, contact_sheet
from hydra_mobile.examples.emojiqa.names import Thing, all_things
from hydra_mobile.examples.emojiqa.openmoji import (
    OPENMOJI_ATTRIBUTION,
    OPENMOJI_REQUIREMENT,
    OPENMOJI_SHA256,
    Art,
    FolderArt,
    OpenMoji,
    plain_code,
)
from hydra_mobile.examples.emojiqa.pictures import paint
from hydra_mobile.examples.emojiqa.questions import (
    ABSENT_KINDS,
    Pool,
    Question,
    absence,
    caption_of,
    caption_with_class,
    choice,
    kind_of,
    presence,
    training_questions,
)

MANIFEST = "emojiqa.json"
SCHEMA = 1
# Raise it with every change of what is drawn or asked: folders of older recipes are built again.
RECIPE = 4
# One name in eight is pictured twice as often: the "popular" ones of the POPE-like questions.
POPULAR_EVERY = 8
# Below this an artist's folder is most likely the wrong one.
_FEWEST_DRAWN = 8
# Letters, pointing hands and the like change their meaning in a mirror.
_NO_MIRROR = {"sign", "hand", ""}

Progress = Callable[[int, int, str], None]


@dataclass
class _Picture:
    thing: Thing
    art: Art
    path: str
    seed: str


@dataclass
class _Plan:
    """Everything to write, known before the first picture is drawn."""

    pictures: list[_Picture] = field(default_factory=list)
    stage1: list[dict[str, Any]] = field(default_factory=list)
    stage2: list[dict[str, Any]] = field(default_factory=list)
    tests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def build_emojiqa(
    out: Path,
    *,
    seed: int = 0,
    names: int | None = None,
    art_folders: Mapping[str, Path] | None = None,
    image_size: int = 224,
    pictures_per_name: int = 3,
    test_questions: int = 480,
    quick: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write EmojiQA to the folder `out` and return it; instant when it is there already.

    Args:
        out: the folder to make. One made with other parameters is replaced.
        seed: decides the split, the looks and the questions; same seed, same bytes.
        names: how many names to use, at least 16; None for all of the table.
        art_folders: artist -> folder of SVG or PNG files named by code points. They give the
            split "unseen_artist" and are never trained on.
        image_size: side of the square pictures, pixels.
        pictures_per_name: training pictures of one seen name (twice that for the popular ones).
        test_questions: questions of each test split, a multiple of 48.
        quick: ask only what a small model learns within minutes: the class; captions name it.
        progress: called with (done, total, what) while the pictures are drawn.

    Raises:
        DataError: a parameter is out of range, a drawing is unreadable, or `out` holds other files.
    """
    things = _choose_things(seed, names)
    _check_parameters(test_questions, pictures_per_name, image_size)
    require_replaceable(out, EMOJIQA)
    artists = [
        FolderArt(name, Path(folder)) for name, folder in sorted((art_folders or {}).items())
    ]
    parameters = {
        "recipe": RECIPE,
        "seed": seed,
        "names": len(things),
        "image_size": image_size,
        "pictures_per_name": pictures_per_name,
        "test_questions": test_questions,
        "table_sha256": _table_digest(things),
        "art": {OPENMOJI_REQUIREMENT: OPENMOJI_SHA256},
        "artists": {art.name: art.digest(_drawn_by(art, things)) for art in artists},
        "pillow": PIL.__version__,
    }
    if quick:
        parameters["quick"] = "class"
    if _is_built(out, parameters):
        return out
    plan = _plan(things, OpenMoji(), artists, seed, pictures_per_name, test_questions, quick)
    require_free_space(out, len(plan.pictures) * image_size * image_size, "EmojiQA")
    with folder_atomically(out, mark=EMOJIQA) as folder:
        _draw(plan.pictures, folder, image_size, progress)
        _write_records(plan, folder)
        _write_contact_sheet(plan, folder)
        (folder / "ATTRIBUTION.txt").write_text(_attribution(artists))
        _write_manifest(plan, things, parameters, folder)
    return out


# -- parameters ---------------------------------------------------------------------------------


def _choose_things(seed: int, names: int | None) -> list[Thing]:
    things = list(all_things())
    if names is None:
        return things
    if not 16 <= names <= len(things):
        raise DataError(f"names is {names}: expected 16 to {len(things)}.")
    return sorted(random.Random(f"{seed}:names").sample(things, names), key=lambda t: t.code)


def _check_parameters(test_questions: int, pictures_per_name: int, image_size: int) -> None:
    if test_questions < 48 or test_questions % 48:
        raise DataError(
            f"test_questions is {test_questions}: expected a multiple of 48, "
            "so that kinds, answers and letters can be balanced."
        )
    if pictures_per_name < 1:
        raise DataError(f"pictures_per_name is {pictures_per_name}: expected 1 or more.")
    if not 32 <= image_size <= 1024:
        raise DataError(f"image_size is {image_size}: expected 32 to 1024 pixels.")


def _is_built(out: Path, parameters: dict[str, Any]) -> bool:
    try:
        manifest = json_if_sound(out / MANIFEST)
        same = manifest["parameters"] == json.loads(dumps(parameters))
        return bool(same) and all(
            (out / name).stat().st_size == entry["bytes"]
            for name, entry in manifest["files"].items()
        )
    except (OSError, AttributeError, KeyError, TypeError):
        return False


def _table_digest(things: Sequence[Thing]) -> str:
    return hashlib.sha256(dumps([asdict(thing) for thing in things]).encode()).hexdigest()


def _drawn_by(art: Art, things: Sequence[Thing]) -> list[str]:
    return sorted({plain_code(thing.code) for thing in things} & art.codes())


# -- the plan -----------------------------------------------------------------------------------


def _plan(
    things: Sequence[Thing],
    openmoji: Art,
    artists: Sequence[Art],
    seed: int,
    pictures_per_name: int,
    test_questions: int,
    quick: bool,
) -> _Plan:
    plan = _Plan()
    seen, unseen = _split(things, seed)
    _plan_training(plan, seen, openmoji, seed, pictures_per_name, quick)
    plan_test = _plan_quick_test if quick else _plan_test
    plan_test(plan, "seen", seen, [openmoji], seed, test_questions)
    plan_test(plan, "unseen", unseen, [openmoji], seed, test_questions)
    if artists:
        drawn = set().union(*(_drawn_seen(art, seen) for art in artists))
        redrawn = [thing for thing in seen if plain_code(thing.code) in drawn]
        plan_test(plan, "unseen_artist", redrawn, artists, seed, test_questions)
    return plan


def _drawn_seen(art: Art, seen: Sequence[Thing]) -> list[str]:
    drawn = _drawn_by(art, seen)
    if len(drawn) < _FEWEST_DRAWN:
        raise DataError(
            f"The art folder of {art.name} draws only {len(drawn)} of {len(seen)} seen names: "
            f"at least {_FEWEST_DRAWN} are needed.",
            "Give a folder whose files are named by code points, such as 1f436.svg.",
        )
    return drawn


def _split(things: Sequence[Thing], seed: int) -> tuple[list[Thing], list[Thing]]:
    """Halve the names, class by class, so that both halves hold the same mix."""
    order = sorted(things, key=lambda thing: thing.code)
    random.Random(f"{seed}:split").shuffle(order)
    order.sort(key=lambda thing: thing.kind)
    return order[0::2], order[1::2]


def _popular(pool: Sequence[Thing]) -> list[Thing]:
    return list(pool[::POPULAR_EVERY])


def _balanced(values: Sequence[int], dice: random.Random) -> Iterator[int]:
    """Yield `values` for ever, each equally often, in an order that cannot be foreseen."""
    while True:
        yield from dice.sample(values, len(values))


def _plan_training(
    plan: _Plan, seen: Sequence[Thing], art: Art, seed: int, pictures_per_name: int, quick: bool
) -> None:
    dice = random.Random(f"{seed}:train")
    popular = _popular(seen)
    pool = Pool(seen, popular)
    positions = _balanced(range(4), dice)
    shown = [
        (thing, number)
        for thing in seen
        if thing.kind or not quick
        for number in range(pictures_per_name * (2 if thing in popular else 1))
    ]
    dice.shuffle(shown)
    caption = caption_with_class if quick else caption_of
    for turn, (thing, number) in enumerate(shown):
        stem = f"{thing.code.lower()}_{number}"
        path = f"images/train/{stem}.png"
        plan.pictures.append(_Picture(thing, art, path, f"{seed}:train:{stem}"))
        plan.stage1.append(_record(stem, path, "Describe the image briefly.", caption(thing)))
        if quick:
            questions = [kind_of(thing)]
        else:
            questions = training_questions(thing, turn, pool, positions, dice)
        plan.stage2 += [
            _record(f"{stem}-{index}-{q.kind}", path, q.text, q.answer)
            for index, q in enumerate(questions)
        ]


def _record(key: str, image: str, question: str, answer: str) -> dict[str, Any]:
    return {
        "id": key,
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\n{question}"},
            {"from": "gpt", "value": answer},
        ],
    }


class _TestPictures:
    """Hands out test pictures, each with a look (and, of several artists, an artist) of its own."""

    def __init__(self, plan: _Plan, split: str, arts: Sequence[Art], seed: int) -> None:
        self._plan, self._split, self._seed = plan, split, seed
        self._arts = [(art, art.codes()) for art in arts]
        self._taken: dict[str, int] = {}

    def take(self, thing: Thing) -> str:
        code = plain_code(thing.code)
        number = self._taken.get(code, 0)
        self._taken[code] = number + 1
        arts = [art for art, codes in self._arts if code in codes]
        art = arts[number % len(arts)]
        stem = f"{thing.code.lower()}_{art.name}_{number}"
        path = f"images/{self._split}/{stem}.png"
        seed = f"{self._seed}:{self._split}:{stem}"
        self._plan.pictures.append(_Picture(thing, art, path, seed))
        return path


def _plan_test(
    plan: _Plan, split: str, things: Sequence[Thing], arts: Sequence[Art], seed: int, total: int
) -> None:
    dice = random.Random(f"{seed}:{split}")
    popular = _popular(things)
    pool = Pool(things, popular)
    pictures = _TestPictures(plan, split, arts, seed)
    lines: list[dict[str, Any]] = []

    def ask(thing: Thing, path: str, question: Question, **meta: Any) -> None:
        lines.append(_test_line(split, len(lines), thing, path, question, meta))

    order = _endless([*things, *popular], dice)
    # 5/12 existence in pairs of yes and no, 4/12 choices in groups of four, 3/12 classes.
    for turn in range(total * 5 // 24):
        thing = next(order)
        path = pictures.take(thing)
        how = ABSENT_KINDS[turn % 3]
        ask(thing, path, presence(thing), pair=how)
        ask(thing, path, absence(thing, how, pool, dice), pair=how)
    for group in range(total * 4 // 48):
        thing = next(order)
        path = pictures.take(thing)
        options = pool.options(thing, dice)
        for position in range(4):
            ask(thing, path, choice(options, position), group=f"{split}-{group}")
    classes = _class_by_class(things, dice)
    for _ in range(total * 3 // 12):
        thing = next(classes)
        ask(thing, pictures.take(thing), kind_of(thing))
    plan.tests[split] = lines


def _plan_quick_test(
    plan: _Plan, split: str, things: Sequence[Thing], arts: Sequence[Art], seed: int, total: int
) -> None:
    """Ask for the class, of all classes alike."""
    pictures = _TestPictures(plan, split, arts, seed)
    classes = _class_by_class(things, random.Random(f"{seed}:{split}"))
    plan.tests[split] = [
        _test_line(split, index, thing, pictures.take(thing), kind_of(thing), {})
        for index, thing in enumerate(itertools.islice(classes, total))
    ]


def _test_line(
    split: str,
    index: int,
    thing: Thing,
    path: str,
    question: Question,
    meta: dict[str, Any],
) -> dict[str, Any]:
    return {
        "question_id": f"{split}-{index:05d}-{question.kind}",
        "image": path,
        "text": question.text,
        "category": question.kind,
        "answer": question.answer,
        "name": thing.name,
        "class": thing.kind,
        "meta": {**question.meta, **meta},
    }


def _endless(things: Sequence[Thing], dice: random.Random) -> Iterator[Thing]:
    while True:
        yield from dice.sample(things, len(things))


def _class_by_class(things: Sequence[Thing], dice: random.Random) -> Iterator[Thing]:
    """Yield things that have a class, the classes in turns while names of them are left."""
    while True:
        by_kind: dict[str, list[Thing]] = {}
        for thing in dice.sample(list(things), len(things)):
            if thing.kind:
                by_kind.setdefault(thing.kind, []).append(thing)
        for row in itertools.zip_longest(*(by_kind[kind] for kind in sorted(by_kind))):
            yield from (thing for thing in row if thing is not None)


# -- writing ------------------------------------------------------------------------------------


def _draw(pictures: Sequence[_Picture], folder: Path, side: int, progress: Progress | None) -> None:
    jobs: dict[tuple[str, str], list[_Picture]] = {}
    for picture in pictures:
        (folder / picture.path).parent.mkdir(parents=True, exist_ok=True)
        jobs.setdefault((picture.art.name, picture.thing.code), []).append(picture)

    def run(job: list[_Picture]) -> int:
        first = job[0]
        paint(
            first.art,
            plain_code(first.thing.code),
            [(folder / picture.path, picture.seed) for picture in job],
            side,
            may_mirror=first.thing.kind not in _NO_MIRROR,
        )
        return len(job)

    done = 0
    # Threads are enough: drawing, resampling and PNG compression run outside the interpreter lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as workers:
        for drawn in workers.map(run, jobs.values()):
            done += drawn
            if progress is not None:
                progress(done, len(pictures), "images")


def _write_records(plan: _Plan, folder: Path) -> None:
    for name, records in (("train_stage1", plan.stage1), ("train_stage2", plan.stage2)):
        lines = ",\n".join(dumps(record, ensure_ascii=False) for record in records)
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    for split, questions in plan.tests.items():
        lines = "".join(dumps(line, ensure_ascii=False) + "\n" for line in questions)
        (folder / f"test_{split}.jsonl").write_text(lines, encoding="utf-8")


def _write_contact_sheet(plan: _Plan, folder: Path) -> None:
    sections: dict[str, list[Cell]] = {}
    shown: dict[str, dict[str, Any]] = {}
    by_image = {record["image"]: record for record in plan.stage2}
    things = {picture.path: picture.thing for picture in plan.pictures}
    for path, record in itertools.islice(by_image.items(), 12):
        turns = [turn["value"].removeprefix("<image>\n") for turn in record["conversations"]]
        sections.setdefault("training (seen names)", []).append(
            Cell(folder / path, things[path].name, things[path].kind, turns[0], turns[1])
        )
    for split, lines in plan.tests.items():
        # A few of each kind of question, spread over the file.
        for kind in ("yesno", "choice", "class"):
            of_kind = [line for line in lines if line["category"] == kind]
            step = max(1, len(of_kind) // 4 + (kind != "class"))
            for line in of_kind[::step][:4]:
                shown[line["question_id"]] = line
        sections[f"test: {split.replace('_', ' ')}"] = [
            Cell(folder / q["image"], q["name"], q["class"], q["text"], q["answer"])
            for q in shown.values()
        ]
        shown = {}
    contact_sheet(sections, folder / "contact_sheet.png")


def _attribution(artists: Sequence[Art]) -> str:
    text = OPENMOJI_ATTRIBUTION
    for art in artists:
        text += (
            f"\nPictures with `_{art.name}_` in their name: drawings by {art.name}, from a folder "
            "given by\nthe user, under that artist's own licence; changed in the same ways.\n"
        )
    return text


def _write_manifest(
    plan: _Plan, things: Sequence[Thing], parameters: dict[str, Any], folder: Path
) -> None:
    pictures = hashlib.sha256()
    for picture in sorted(plan.pictures, key=lambda p: p.path):
        pictures.update(picture.path.encode() + bytes.fromhex(sha256_of(folder / picture.path)))
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    manifest = {
        "schema": SCHEMA,
        "name": "EmojiQA",
        "licence": "CC BY-SA 4.0 (OpenMoji), see ATTRIBUTION.txt",
        "parameters": parameters,
        "counts": {
            "names": len(things),
            "pictures": len(plan.pictures),
            "train_stage1": len(plan.stage1),
            "train_stage2": len(plan.stage2),
            **{f"test_{split}": len(lines) for split, lines in plan.tests.items()},
        },
        "images_sha256": pictures.hexdigest(),
        "files": files,
    }
    (folder / MANIFEST).write_text(dumps(manifest, indent=2) + "\n", encoding="utf-8")
