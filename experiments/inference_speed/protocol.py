"""What is asked of every engine: the prompt, the picture, and how many tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image, ImageDraw

from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.runtimes.base import Array

_TEXT = (
    "A phone has little memory and no patience. The picture shows a street in the morning: a red "
    "bicycle leans on a wall, two people carry a table, and a dog sleeps beside an open door. "
    "Describe what happens next, who is involved, and what the weather is like. "
)


@dataclass(frozen=True)
class Protocol:
    """Sizes of one measurement.

    Attributes:
        prompts: lengths of prompts, in tokens, each read in one call.
        new_tokens: steps after each prompt; every engine chooses the likeliest token itself.
        repeats: timed repeats within a process, after a warm-up; more rounds say more, for a slow
            minute falls on all repeats of a process.
        checked_tokens: greedy tokens that are compared with eager torch before anything is timed.
    """

    prompts: tuple[int, ...] = (64, 256)
    new_tokens: int = 128
    repeats: int = 1
    checked_tokens: int = 32

    @property
    def context(self) -> int:
        """Tokens that a cache must hold."""
        return max(self.prompts) + max(self.new_tokens, self.checked_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON stores."""
        return {**asdict(self), "prompts": list(self.prompts)}


def prompt_ids(processor: MobileVLMProcessor, length: int) -> list[int]:
    """Return `length` token ids of plain English, the same for every engine."""
    found = processor.text_ids(_TEXT)
    return (found * (length // len(found) + 1))[:length]


def picture() -> Image.Image:
    """Return the picture that is asked about."""
    drawn = Image.new("RGB", (320, 240), "#d8e4f0")
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((60, 60, 180, 180), fill="#c0392b", outline="black", width=3)
    draw.rectangle((190, 100, 290, 220), fill="#27ae60")
    return drawn


def pixels(processor: MobileVLMProcessor) -> Array:
    """Return the preprocessed picture [1, 3, H, W]."""
    return processor.preprocess(picture())[None]
