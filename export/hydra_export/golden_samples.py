"""Pictures and questions for a bundle's golden vectors: real ones where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from hydra_mobile.bundle.golden import GoldenInput
from hydra_mobile.core.files import read_json
from hydra_mobile.data.llava import read_llava
from hydra_mobile.models.pictures import open_picture

_COUNT = 4
_DRAWN = (
    ("circle", "#c0392b", "What is in the image?"),
    ("square", "#2980b9", "What color is the square?"),
    ("triangle", "#27ae60", "Is there a triangle in the image?"),
    ("circle", "#8e44ad", "Describe the image briefly."),
)


def golden_inputs(artifact: Path, file: Path | None = None) -> list[GoldenInput]:
    """Return a few (picture, question) pairs.

    Args:
        artifact: a run, or a folder inside one, whose training data is used if it still exists.
        file: training data to use instead.

    Raises:
        DataError: `file` or a picture that it names cannot be read.
    """
    images, columns = None, dict[str, str]()
    if file is None:
        data = _training_data(artifact)
        if data:
            file = Path(data["stage2"])
            images = Path(data["images"]) if data["images"] else None
            columns = data.get("columns") or {}
    if file is None:
        return [(_draw(shape, color), question) for shape, color, question in _DRAWN]
    pictured = [(r.image, r) for r in read_llava(file, images, columns) if r.image]
    step = max(1, len(pictured) // _COUNT)
    return [
        (open_picture(image, record.id), record.turns[0].question)
        for image, record in pictured[::step][:_COUNT]
    ]


def _training_data(artifact: Path) -> dict[str, Any]:
    """Return the data settings of the run, if its file is still here."""
    for folder in (artifact, artifact.parent):
        record = folder / "run.json"
        if record.is_file():
            data: dict[str, Any] = read_json(record, "the record of a run")["config"]["data"]
            if data["stage2"] and Path(data["stage2"]).exists():
                return data
    return {}


def _draw(shape: str, color: str) -> Image.Image:
    picture = Image.new("RGB", (256, 192), "#f4f1e8")
    draw = ImageDraw.Draw(picture)
    if shape == "circle":
        draw.ellipse((70, 40, 180, 150), fill=color, outline="black", width=4)
    elif shape == "square":
        draw.rectangle((70, 40, 180, 150), fill=color, outline="black", width=4)
    else:
        draw.polygon(((125, 35), (60, 155), (190, 155)), fill=color, outline="black", width=4)
    return picture
