"""What is measured: lengths, repeats, threads. Two results compare only where these agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.processor import MobileVLMProcessor

#: One token in every byte-level and sentencepiece vocabulary that we met.
_WORD = " the"


@dataclass(frozen=True)
class Plan:
    """One way of measuring.

    Attributes:
        prompt_tokens: of the whole prompt, template and image included; the least that is possible
            where the template alone is longer.
        new_tokens: of each answer; the end of an answer is not heeded.
        repeats: measured answers of each process.
        warmup: answers before them, left out.
        rounds: processes for each artifact; artifacts take turns.
        threads: of the runtime; 0 leaves the choice to it.
    """

    prompt_tokens: int = 64
    new_tokens: int = 32
    repeats: int = 5
    warmup: int = 1
    rounds: int = 2
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "new_tokens", "repeats", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, below 1.")
        if self.new_tokens < 2:
            raise ConfigError("--new-tokens is 1: decoding starts with the second token.")
        if min(self.warmup, self.threads) < 0:
            raise ConfigError("--warmup and --threads are 0 or more.")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def question_of(plan: Plan, processor: MobileVLMProcessor, max_context: int) -> str:
    """Return a question whose prompt has the plan's length, as nearly as the template allows.

    Raises:
        ConfigError: prompt and answer do not fit into the context.
    """

    def length(words: int) -> int:
        prompt = processor.prompt("Describe the image briefly." + _WORD * words, with_image=True)
        return len(prompt.before) + len(processor.image_ids) + len(prompt.after)

    words = max(0, plan.prompt_tokens - length(0))
    while words and length(words) > plan.prompt_tokens:
        words -= 1
    if length(words) + plan.new_tokens > max_context:
        raise ConfigError(
            f"A prompt of {length(words)} tokens and {plan.new_tokens} new ones do not fit into "
            f"the artifact's context of {max_context}.",
            "Lower --prompt-tokens or --new-tokens, or export with a larger max_context.",
        )
    return "Describe the image briefly." + _WORD * words
