"""Conversations with pictures for an export: for golden vectors, and to round weights on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.files import read_json
from hydra_mobile.data.llava import Record, iter_llava


@dataclass(frozen=True)
class TrainingData:
    """Data in any form that training reads.

    Attributes:
        file: the file, folder of shards or pattern.
        images: the folder that its pictures are relative to; None: the file's own.
        columns: other names of its fields.
        required: whether data that cannot be read ends an export.
    """

    file: Path
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    required: bool = True

    def pictured(self, count: int) -> list[Record]:
        """Return up to `count` conversations with a picture, evenly spread, in bounded memory.

        Raises:
            DataError: the data cannot be read.
        """
        kept: list[Record] = []
        every, seen = 1, 0
        for record in iter_llava(self.file, self.images, self.columns):
            if record.image is None:
                continue
            if seen % every == 0:
                kept.append(record)
            seen += 1
            if len(kept) == 4 * count:
                # Every second of them, as of those that come.
                kept, every = kept[::2], 2 * every
        chosen = min(count, len(kept))
        return [kept[at * len(kept) // chosen] for at in range(chosen)]


def of_run(artifact: Path) -> TrainingData | None:
    """Return what stage 2 of a run trained on, where that still exists.

    Args:
        artifact: a run, or a folder inside one.
    """
    for folder in (artifact, artifact.parent):
        record = folder / "run.json"
        if record.is_file():
            with reading(record, "the record of a run, with `config.data`"):
                data = read_json(record, "the record of a run")["config"]["data"]
                file, images = data["stage2"] or "", data["images"] or ""
                columns = dict(data.get("columns") or {})
                if not (isinstance(file, str) and isinstance(images, str)):
                    raise TypeError("paths are not text")
                exists = bool(file) and Path(file).exists()
            if exists:
                return TrainingData(
                    Path(file), Path(images) if images else None, columns, required=False
                )
    return None
