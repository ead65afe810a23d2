"""Timing of one runner: fixed prompt, fixed number of new tokens, several repeats.

Answers of benchmarks are a token or two long, too short to time decoding; this is where the decode
and prefill rates come from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.generation import Generator

QUESTION = "Describe the image briefly."
NEW_TOKENS = 32
REPEATS = 5


@dataclass
class Speed:
    """Measurements, one entry per repeat, the warm-up left out.

    Units: seconds, and tokens per second.
    """

    encode: list[float] = field(default_factory=list)
    prefill_rate: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    decode_rate: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the lists by name."""
        return asdict(self)


def measure_speed(runner: Runtime, repeats: int = REPEATS) -> Speed:
    """Time encode, prefill, first token and decode; end-of-answer is ignored."""
    generator = Generator(runner)
    picture = Image.new("RGB", (runner.processor.image.size,) * 2, (90, 140, 60))
    speed = Speed()
    for repeat in range(repeats + 1):
        generation = generator.answer(
            QUESTION, lambda: picture, max_new_tokens=NEW_TOKENS, stop=False
        )
        if repeat == 0 or generation.encode_seconds is None:
            continue
        speed.encode.append(generation.encode_seconds)
        speed.prefill_rate.append(generation.prefill_tokens / generation.prefill_seconds)
        speed.first_token.append(generation.first_token_seconds or 0.0)
        speed.decode_rate.append(generation.decode_steps / generation.decode_seconds)
    return speed
