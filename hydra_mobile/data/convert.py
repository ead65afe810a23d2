"""Any form of training data to LLaVA's: one record a line or a list, images beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.files import cache_home, write_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.own_files import DATA, own_file_atomically
from hydra_mobile.data.json_stream import Place
from hydra_mobile.data.llava import Record, parse_record, with_marks
from hydra_mobile.data.source import Source
from hydra_mobile.data.validate import IMAGE_MARK

#: (records, bytes read, bytes in all)
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        out: the file.
        form: dialect and container that it was made from.
        records: written.
        left_out: records that are not as expected.
        pictures: folder of the images that were inside the data; None: none were.
    """

    out: Path
    form: str
    records: int
    left_out: int
    pictures: Path | None


def convert_data(
    path: Path,
    out: Path,
    *,
    images: Path | None = None,
    columns: Mapping[str, str] | None = None,
    drop_bad: bool = False,
    progress: Progress = lambda records, done, total: None,
) -> Converted:
    """Write training data of any form as LLaVA's json, or jsonl where `out` is named so.

    Images inside the data go to a folder beside `out`; others stay where they are, and the
    records name them relative to `out`, so that no image folder has to be given with it.

    Raises:
        DataError: the data cannot be read; or a record is not as expected and `drop_bad` is False;
            or no record is left.
        ArtifactError: `out` is there and is no file that was converted here.
    """
    source = Source(path, columns)
    folder = source.folder if images is None else images
    if out.exists() and path.exists() and out.samefile(path):
        raise HydraError(f"{out} is the data itself.", "Choose another file with --out.")
    beside = out.with_name(f"{out.stem}-images")
    kept, left_out, unpacked = 0, 0, False
    lines = out.suffix == ".jsonl"
    # JSON in any case: whoever reads it must not depend on the platform.
    with (
        own_file_atomically(out, DATA) as temporary,
        temporary.open("w", encoding="utf-8") as handle,
    ):
        handle.write("" if lines else "[")
        for number, place in enumerate(source, 1):
            try:
                record = parse_record(place.value, place.where, folder)
            except DataError:
                if not drop_bad:
                    raise
                left_out += 1
                continue
            names = [_image_name(image, out, beside) for image in record.images]
            unpacked |= any(inside for _, inside in names)
            value = _llava(record, place, [name for name, _ in names])
            text = dumps(value, ensure_ascii=False)
            handle.write(f"{text}\n" if lines else f"{',' if kept else ''}\n{text}")
            kept += 1
            if number % 1000 == 0:
                progress(number, source.bytes_read, source.bytes_total)
        handle.write("" if lines else "\n]\n")
        if not kept:
            raise DataError(
                f"{path} holds no record that can be used ({left_out:,} were left out).",
                "`hydra-mobile data check` names what is wrong.",
            )
    progress(kept + left_out, source.bytes_total, source.bytes_total)
    return Converted(out, source.title, kept, left_out, beside if unpacked else None)


def _image_name(image: Path, out: Path, beside: Path) -> tuple[str, bool]:
    """Return the name of a record's image relative to `out`, and whether it was in the data."""
    cache = cache_home().absolute() / "images"
    if not image.is_relative_to(cache):
        return os.path.relpath(image.absolute(), out.absolute().parent), False
    target = beside / image.name
    if not target.exists():
        # No link: whoever edits the images must not change those of the cache.
        with write_atomically(target, synced=False) as temporary:
            shutil.copyfile(image, temporary)
    return f"{beside.name}/{target.name}", True


def _llava(record: Record, place: Place, images: list[str]) -> dict[str, object]:
    turns = []
    for number, turn in enumerate(record.turns):
        mark = f"{IMAGE_MARK}\n" if record.image and number == 0 else ""
        turns.append({"from": "human", "value": mark + with_marks(turn)})
        turns.append({"from": "gpt", "value": turn.answer})
    known = isinstance(place.value, dict) and place.value.get("id") is not None
    value: dict[str, object] = {"id": record.id} if known else {}
    named = {"image": images[0] if len(images) == 1 else images} if images else {}
    return value | named | {"conversations": turns}
