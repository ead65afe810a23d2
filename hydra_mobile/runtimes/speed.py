"""Timing of one runtime: fixed prompt, fixed number of new tokens, several repeats.

Answers of benchmarks are a token or two long, too short to time decoding; this is where the decode
and prefill rates come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.runtimes.answering import line_of
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.generation import Generator

QUESTION = "Describe the image briefly."
NEW_TOKENS = 32
REPEATS = 5
# A prompt and a few steps bring a program into memory; all 32 take seconds and bring no more.
_WARM_TOKENS = 4
_COLOR = (90, 140, 60)


@dataclass
class Speed:
    """Measurements, one entry per repeat, the warm-up left out.

    Units: seconds, and tokens per second for rates.
    """

    encode: list[float] = field(default_factory=list)
    prefill: list[float] = field(default_factory=list)
    prefill_rate: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    decode_rate: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, lines: Sequence[AnswerLine]) -> Speed:
        """Return the measurements of answers that each encoded their picture."""
        return cls(
            encode=[line.encode_seconds or 0.0 for line in lines],
            prefill=[line.prefill_seconds for line in lines],
            prefill_rate=[line.prefill_tokens / line.prefill_seconds for line in lines],
            first_token=[line.first_token_seconds or 0.0 for line in lines],
            decode_rate=[line.decode_steps / line.decode_seconds for line in lines],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the lists by name."""
        return asdict(self)


def timing_picture(side: int) -> Image.Image:
    """Return the picture that timings encode, `side` pixels square."""
    return Image.new("RGB", (side, side), _COLOR)


def repeated(
    runtime: Runtime, question: str, new_tokens: int, repeats: int, warmup: int = 1
) -> list[AnswerLine]:
    """Answer one question again and again with a new picture each time; end-of-answer is ignored.

    Args:
        runtime: loaded.
        question: without the template.
        new_tokens: of each answer.
        repeats: measured answers.
        warmup: short answers before them, left out.
    """
    generator = Generator(runtime)
    picture = timing_picture(runtime.processor.image.size)

    def answer(number: int, tokens: int) -> AnswerLine:
        found = generator.answer(question, lambda: picture, max_new_tokens=tokens, stop=False)
        return line_of(found, f"timing-{number}")

    for number in range(warmup):
        answer(number, min(new_tokens, _WARM_TOKENS))
    return [answer(warmup + number, new_tokens) for number in range(repeats)]


def measure_speed(runtime: Runtime, repeats: int = REPEATS) -> Speed:
    """Time encode, prefill, first token and decode of the standard question."""
    return Speed.of(repeated(runtime, QUESTION, NEW_TOKENS, repeats))
