"""Cells of a table that hold pictures: base64 text, a list of such texts, or another row's index.

The form is the one that MMBench's tools and VLMEvalKit write and read.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.benchmarks.shared.tab_separated import Span
from hydra_mobile.core.errors import DataError

#: Base64 has neither quotes nor commas, so a list can be taken apart without a parser; in a
#: quoted cell of a table the list's own double quotes are doubled.
_ITEM = rb"\s*(?:\"\"|\"|')\s*([A-Za-z0-9+/=]*)\s*(?:\"\"|\"|')\s*"
_LIST = re.compile(rb"\s*\[(?:%b(?:,%b)*)?,?\s*\]\s*" % (_ITEM, _ITEM))


def encoded_cell(pictures: Sequence[Picture]) -> str:
    """Return the cell of a row: the base64 text of its picture, or a JSON list of several.

    The files' own bytes are kept, so that no pixel changes.

    Raises:
        DataError: a picture is missing or is none; names its file.
    """
    texts = [_encoded(picture) for picture in pictures]
    if len(texts) > 1:
        return json.dumps(texts)
    return texts[0] if texts else ""


def only_of_list(path: Path, span: Span, where: str) -> Span | None:
    """Return where the one picture of a cell with a list is; None for an empty list.

    Args:
        path: the table.
        span: where the cell is; its text begins with "[".
        where: the row, for messages.

    Raises:
        DataError: the list holds several pictures, or is no list of base64 texts.
    """
    with path.open("rb") as handle:
        handle.seek(span.offset)
        cell = handle.read(span.length)
    if _LIST.fullmatch(cell) is None:
        raise DataError(
            f"{where}: the cell `image` begins like a list of pictures and is none: expected "
            '["base64 text"].',
            "Write the picture's base64 text alone, or a JSON list of it.",
        )
    items = [found for found in re.finditer(_ITEM, cell) if found.group(1)]
    if not items:
        return None
    if len(items) > 1:
        raise DataError(
            f"{where}: the cell `image` holds a list of pictures, {len(items)} of them: expected "
            "one.",
            "Models here take one picture a question.",
        )
    text = items[0].group(1)
    return Span(
        offset=span.offset + items[0].start(1),
        length=len(text),
        head=text[: len(span.head)],
        digest=hashlib.blake2b(text, digest_size=16).digest(),
    )


def _encoded(picture: Picture) -> str:
    content = picture.content()
    try:
        # Only the header: pixels are not decoded to write a table of thousands.
        with Image.open(io.BytesIO(content)):
            pass
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{picture.key} is no picture: {error}.", "Download the file again."
        ) from error
    return base64.b64encode(content).decode("ascii")
