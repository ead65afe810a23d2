"""Pictures and questions for a bundle's golden vectors: real ones where there are some."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from hydra_export.training_data import TrainingData, of_run
from hydra_mobile.bundle.golden import GoldenInput
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
        artifact: a run, or a folder inside one, whose training data is used if it still exists and
            has pictures; else pictures are drawn.
        file: training data to use instead.

    Raises:
        DataError: `file` or a picture that it names cannot be read.
    """
    data = TrainingData(file) if file else of_run(artifact)
    records = data.pictured(_COUNT) if data else []
    if not records and file is None:
        return [(_draw(shape, color), question) for shape, color, question in _DRAWN]
    return [
        (open_picture(record.image, record.id), record.turns[0].question)
        for record in records
        if record.image
    ]


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
