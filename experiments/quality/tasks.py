"""The two task families: where their data comes from and which splits judge.

Both start from the same base, whose projector was aligned on EmojiQA's captions, so that a run is
stage II alone.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.quality import handwriting
from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.examples.emojiqa.dataset import build_emojiqa

#: Drawings of an artist that nothing is trained on; CC-BY 4.0, used for evaluation only.
ARTIST = "twemoji"
TWEMOJI = (
    "@twemoji/svg",
    "15.0.0",
    "1d2907557a422c7c4e3feca50ef915c39da1db3d76b4a4d7e73fb59bce4403c3",
)


@dataclass(frozen=True)
class Task:
    """One task family.

    Attributes:
        build: writes the data to a folder, or finds it there.
        splits: those that judge, the one that was trained on most closely first.
        steps: of stage II.
    """

    build: Callable[[Path], Path]
    splits: tuple[str, ...]
    steps: int


def emojiqa(out: Path) -> Path:
    """Build EmojiQA with an unseen artist; test questions also as LLaVA records."""
    artist = out.with_name(f"{out.name}-{ARTIST}")
    if not artist.is_dir():
        with (
            folder_atomically(artist, mark=None) as folder,
            tarfile.open(fetch_npm(*TWEMOJI)) as archive,
        ):
            for member in archive.getmembers():
                if member.name.endswith(".svg"):
                    source = archive.extractfile(member)
                    assert source is not None
                    (folder / Path(member.name).name).write_bytes(source.read())
    build_emojiqa(out, art_folders={ARTIST: artist})
    for split in ("seen", "unseen", "unseen_artist"):
        lines = (out / f"test_{split}.jsonl").read_text().splitlines()
        write_json(out / "tests" / f"{split}.json", [_record(json.loads(line)) for line in lines])
    (out / "train.json").write_bytes((out / "train_stage2.json").read_bytes())
    return out


def _record(line: dict[str, str]) -> dict[str, object]:
    return {
        "id": line["question_id"],
        "image": line["image"],
        "conversations": [
            {"from": "human", "value": f"<image>\n{line['text']}"},
            {"from": "gpt", "value": line["answer"]},
        ],
    }


TASKS = {
    "emojiqa": Task(emojiqa, ("seen", "unseen", "unseen_artist"), 150),
    "handwriting": Task(handwriting.build, handwriting.SPLITS, 150),
}
