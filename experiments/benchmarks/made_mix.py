"""A data file of the size and shape of LLaVA's mix665k, with faults planted in it.

Deterministic: the same arguments give the same bytes. Texts are English words in about the
frequencies of English, so that a tokenizer has as much to do as with real ones. Pictures are hard
links to a few hundred JPEG files: as many names as the original has, without its disk space.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from hydra_mobile.core.json_text import dumps

#: kind of fault -> how many records (or pictures) of a full-size file have it.
PLANTED = {
    "malformed records": 10,
    "wrong roles": 20,
    "empty turns": 25,
    "mismatched <image> marks": 15,
    "missing pictures": 40,
    "corrupt pictures": 30,
    "over-long samples": 35,
    "duplicate ids": 50,
    "masked whole": 12,
}
_SHARE_TEXT_ONLY = 40_688 / 665_298
# A picture of mix665k comes with about two records.
_RECORDS_PER_PICTURE = 1.85
_DIFFERENT_FILES = 200
# The most frequent first.
_WORDS = """
the of and to in a is that it for as with was on be at by this are or from an his they which you
image one we can there people their two picture man woman person street table red white blue green
black large small left right near behind front several wooden background appears suggests holding
wearing standing sitting walking looking additionally scene overall various could might indicating
visible possibly creating atmosphere adding activity enjoying surrounded building buildings cars
traffic umbrella bicycle motorcycle kitchen refrigerator microwave oven sink counter bottle bowl
plate sandwich pizza banana orange broccoli carrot cake chair couch bed laptop keyboard mouse remote
television clock vase scissors toothbrush elephant giraffe zebra horse sheep cow bear dog cat bird
surfboard skateboard snowboard skis baseball tennis racket frisbee kite ocean beach mountain snow
grass field fence bridge river airplane train station platform luggage suitcase backpack handbag
crossing intersection pedestrians conversation photograph photographer arrangement approximately
demonstrates characteristics environmental considerations transportation infrastructure
"""


class MadeMix:
    """Writes data.json and pictures/ into a folder.

    Args:
        folder: an empty one.
        records: how many; more than there are planted faults.
        planted: kind of fault -> how many; see `PLANTED`.
        words_of_a_long_sample: more than any `max_length` under test has tokens.
        with_pictures: write picture files.
    """

    def __init__(
        self,
        folder: Path,
        records: int,
        planted: dict[str, int],
        words_of_a_long_sample: int,
        with_pictures: bool = True,
    ) -> None:
        self.file = folder / "data.json"
        self.pictures = folder / "pictures"
        self._records = records
        self._long = words_of_a_long_sample
        self._with_pictures = with_pictures
        self._draw = random.Random(20)
        self._sentences = self._made_sentences()
        kinds = [kind for kind, count in planted.items() for _ in range(count)]
        # Not the first: a duplicate needs an earlier record.
        places = self._draw.sample(range(1, records), len(kinds))
        self._faults = dict(zip(places, kinds, strict=True))

    @staticmethod
    def words() -> list[str]:
        """Return the vocabulary, the most frequent words first."""
        return _WORDS.split()

    def write(self) -> None:
        """Write the pictures and the file."""
        self._linked: set[str] = set()
        if self._with_pictures:
            self.pictures.mkdir(parents=True)
            self._source_files()
        with self.file.open("w") as handle:
            handle.write("[")
            for number, record in enumerate(self._made_records()):
                handle.write((",\n" if number else "\n") + dumps(record, ensure_ascii=False))
            handle.write("\n]\n")

    # -- records --------------------------------------------------------------------------------

    def _made_records(self) -> Iterator[dict[str, Any]]:
        draw = self._draw
        for number in range(self._records):
            fault = self._faults.get(number, "")
            with_picture = "pictures" in fault or draw.random() >= _SHARE_TEXT_ONLY
            record: dict[str, Any] = {"id": f"{number:012d}"}
            if with_picture:
                name = self._picture_name(number, fault)
                record["image"] = name
                self._link(name, fault)
            record["conversations"] = self._turns(with_picture)
            self._plant(record, fault)
            yield record

    def _turns(self, with_picture: bool) -> list[dict[str, str]]:
        """Return many short rounds about a picture (VQA, regions), or a few long ones."""
        draw = self._draw
        short = with_picture and draw.random() < 0.7
        rounds = draw.randint(1, 13) if short else draw.randint(1, 5)
        turns = []
        for _ in range(rounds):
            turns.append({"from": "human", "value": self._text(1)})
            answer = draw.choice(self._words) if short else self._text(draw.randint(2, 10))
            turns.append({"from": "gpt", "value": answer})
        if with_picture:
            turns[0]["value"] = f"<image>\n{turns[0]['value']}"
        return turns

    def _picture_name(self, number: int, fault: str) -> str:
        if "pictures" in fault:
            return f"{fault.split()[0]}/{number}.jpg"
        folder = self._draw.choice(("coco", "gqa", "ocr_vqa", "textvqa", "vg"))
        count = max(1, int(self._records / _RECORDS_PER_PICTURE / 5))
        return f"{folder}/{self._draw.randrange(count):012d}.jpg"

    def _plant(self, record: dict[str, Any], fault: str) -> None:
        turns = record["conversations"]
        if fault == "malformed records":
            record["text"] = record.pop("conversations")
        elif fault == "wrong roles":
            turns[0]["from"] = "gpt"
        elif fault == "empty turns":
            turns[-1]["value"] = " \n"
        elif fault == "mismatched <image> marks":
            turns[-1]["value"] += " <image>"
        elif fault == "over-long samples":
            turns[-1]["value"] = " ".join(self._draw.choices(self._words, k=self._long))
        elif fault == "duplicate ids":
            record["id"] = f"{0:012d}"
        elif fault == "masked whole":
            turns[-1]["value"] += " USER: is that all? ASSISTANT: yes"

    # -- texts ----------------------------------------------------------------------------------

    def _made_sentences(self) -> list[str]:
        draw = self._draw
        self._words = self.words()
        weights = [1 / (rank + 3) for rank in range(len(self._words))]
        return [
            " ".join(draw.choices(self._words, weights, k=draw.randint(6, 22))).capitalize() + "."
            for _ in range(20_000)
        ]

    def _text(self, sentences: int) -> str:
        return " ".join(self._draw.choices(self._sentences, k=sentences))

    # -- pictures -------------------------------------------------------------------------------

    def _source_files(self) -> None:
        folder = self.pictures / "source"
        folder.mkdir()
        noise = Image.effect_noise((640, 480), 60)
        for number in range(_DIFFERENT_FILES):
            left, top = self._draw.randrange(320), self._draw.randrange(240)
            piece = noise.crop((left, top, left + 320, top + 240)).convert("RGB")
            piece.save(folder / f"{number}.jpg", quality=80)
        whole = (folder / "0.jpg").read_bytes()
        (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])

    def _link(self, name: str, fault: str) -> None:
        if not self._with_pictures or fault == "missing pictures" or name in self._linked:
            return
        self._linked.add(name)
        path = self.pictures / name
        path.parent.mkdir(exist_ok=True)
        cut = fault == "corrupt pictures"
        source = "cut" if cut else str(len(self._linked) % _DIFFERENT_FILES)
        os.link(self.pictures / "source" / f"{source}.jpg", path)


def counts_of(result: dict[str, Any]) -> dict[str, int]:
    """Return what a check's JSON found, kind by kind, without zeros."""
    found = Counter(
        {
            kind: entry["count"]
            for part in ("problems", "remarks")
            for kind, entry in result[part].items()
        }
    )
    return dict(+found)
