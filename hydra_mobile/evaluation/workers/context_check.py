"""Whether prompts fit into a runner's context, before the first of them is asked."""

from __future__ import annotations

from typing import Protocol

from hydra_mobile.core.errors import HydraError
from hydra_mobile.evaluation.spec import Asked
from hydra_mobile.models.processor import MobileVLMProcessor


class Limits(Protocol):
    """What a runner, or a bundle on a device, says of its limits."""

    processor: MobileVLMProcessor
    max_context: int


def left_out(asked: Asked, runner: Limits) -> set[str]:
    """Return keys of questions that do not fit into the runner's context.

    Raises:
        HydraError: there are some, and the request does not allow a partial result.
    """
    lengths = {
        sample.key: _length(runner, asked.benchmark.prompt(sample), sample.image is not None)
        for _, sample in asked.questions
    }
    too_long = {key for key, length in lengths.items() if length >= runner.max_context}
    if too_long and not asked.request.allow_partial:
        raise HydraError(
            f"{asked.benchmark.name}: {len(too_long)} of {len(lengths)} prompts do not fit into "
            f"the context of {runner.max_context} tokens; the longest has "
            f"{max(lengths.values())} (first: {sorted(too_long)[0]}).",
            "Export with a larger max_context, or leave them out with --allow-partial, which marks "
            "the result.",
        )
    return too_long


def _length(runner: Limits, text: str, with_image: bool) -> int:
    """Return the tokens of a prompt, the picture's included."""
    prompt = runner.processor.prompt(text, with_image=with_image)
    image = runner.processor.num_image_tokens if with_image else 0
    return len(prompt.before) + image + len(prompt.after)
