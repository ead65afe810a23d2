"""A phone book: invented names and their numbers, to be learned by heart.

No picture and no rule: every pair is 13 bits that stand nowhere else, so that what an adapter can
hold is what limits the loss once it has been shown often enough. The pairs asked are those that
were trained on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import folder_atomically

RECIPE = 2
PAIRS = 240
DIGITS = 4
SPLITS = ("seen",)

_FIRST = ("Al", "Be", "Cor", "Da", "El", "Fa", "Gre", "Hol", "Is", "Jo", "Ka", "Lu", "Mar", "Nor")
_MIDDLE = ("ba", "de", "ga", "lin", "mo", "na", "ri", "so", "ta", "ve")
_LAST = ("berg", "ford", "holm", "land", "mann", "rath", "stein", "ton", "vik", "wood")


def build(out: Path, seed: int = 0) -> Path:
    """Write the task to `out` and return it; instant when it is there."""
    made = {"recipe": RECIPE, "seed": seed, "pairs": PAIRS}
    mark = out / "phone_book.json"
    if mark.is_file() and json.loads(mark.read_text()) == made:
        return out
    dice = random.Random(seed)
    names = [f"{a}{b} {c}{d}" for a in _FIRST for b in _MIDDLE for c in _FIRST for d in _LAST]
    records = [
        _record(index, name, "".join(dice.choices("0123456789", k=DIGITS)))
        for index, name in enumerate(dice.sample(names, PAIRS))
    ]
    with folder_atomically(out, mark=None) as folder:
        (folder / "tests").mkdir()
        write_json(folder / "train.json", records)
        write_json(folder / "tests" / "seen.json", records)
        write_json(folder / "phone_book.json", made)
    return out


def _record(index: int, name: str, number: str) -> dict[str, Any]:
    return {
        "id": f"pair-{index:04d}",
        "conversations": [{"from": "human", "value": name}, {"from": "gpt", "value": number}],
    }
