"""The one loop over questions: tokenize, check the context, prefetch pictures, generate.

`evaluate`, `verify` and the batches of phones prepare their questions here, so that all ask a model
in the same way; what runs in this process is answered here too.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hydra_mobile.benchmarks.pictures import Picture
from hydra_mobile.benchmarks.question import Question, picture_groups
from hydra_mobile.core.errors import HydraError
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.data.prefetch import PicturesAhead
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor, Prompt
from hydra_mobile.runtimes.base import Array, Runtime
from hydra_mobile.runtimes.batched import Asked, BatchedRuntime, answer_batched
from hydra_mobile.runtimes.generation import Generation, Generator


@dataclass(frozen=True)
class Prompted:
    """A question with its token ids."""

    question: Question
    prompt: Prompt


class Answered(NamedTuple):
    """A question's answer, and float32 [V] logits at its first token."""

    line: AnswerLine
    first_logits: Array


def tokenized(
    questions: Iterable[Question],
    processor: MobileVLMProcessor,
    max_context: int,
    *,
    title: str,
    allow_partial: bool = False,
) -> list[Prompted]:
    """Return the questions whose prompts fit into the context, tokenized, by picture.

    Args:
        questions: in the order of the benchmark.
        processor: of the artifact.
        max_context: tokens that its cache holds.
        title: what messages call the questions.
        allow_partial: leave out prompts that do not fit.

    Raises:
        HydraError: a prompt does not fit, and `allow_partial` is off. An answer needs a token.
    """
    prompted, lengths = [], []
    for group in picture_groups(questions):
        for question in group:
            prompt = processor.prompt(question.text, with_image=question.image is not None)
            image = len(processor.image_ids) if question.image else 0
            prompted.append(Prompted(question, prompt))
            lengths.append(len(prompt.before) + image + len(prompt.after))
    fits = [length < max_context for length in lengths]
    if not all(fits) and not allow_partial:
        first = prompted[fits.index(False)].question.key
        raise HydraError(
            f"{title}: {fits.count(False)} of {len(fits)} prompts do not fit into the context of "
            f"{max_context} tokens; the longest has {max(lengths)} (first: {first}).",
            "Export with a larger max_context, or leave them out with --allow-partial, which marks "
            "the result.",
        )
    return [each for each, whole in zip(prompted, fits, strict=True) if whole]


def fitted(
    recipe: ImagePreprocessing, fit: Literal["crop"] | None = None
) -> ImagePreprocessing | None:
    """Return the recipe with a benchmark's own way to fit pictures; None where it is the same.

    A model that reads tiles keeps them: its prompt has a place for each.
    """
    if fit is None or fit == recipe.fit or recipe.tiles is not None:
        return None
    return dataclasses.replace(recipe, fit=fit)


def answers(
    runtime: Runtime,
    prompted: Sequence[Prompted],
    *,
    max_new_tokens: int,
    image_fit: Literal["crop"] | None = None,
) -> Iterator[Answered]:
    """Answer questions greedily, with the next pictures prepared in a thread.

    One at a time, or in batches where the runtime can. A batch says nothing about the time of a
    question: its lines have no encoding and no first token.

    Args:
        runtime: loaded.
        prompted: from `tokenized` with the runtime's processor.
        max_new_tokens: most tokens of an answer.
        image_fit: how pictures are fitted to the square, where not as the model does.

    Raises:
        DataError: a picture is missing or cannot be read.
    """
    groups = picture_groups(each.question for each in prompted)
    pictures = [picture for group in groups if (picture := group[0].image)]
    recipe = runtime.processor.image
    with PicturesAhead(pictures, fitted(recipe, image_fit) or recipe) as ahead:
        found = (
            _in_batches(runtime, prompted, ahead, max_new_tokens)
            if isinstance(runtime, BatchedRuntime)
            else _one_by_one(runtime, prompted, ahead, max_new_tokens)
        )
        last, inside = time.perf_counter(), runtime.seconds
        for batch in found:
            now = time.perf_counter()
            seconds = (now - last) / len(batch)
            runner_seconds = (runtime.seconds - inside) / len(batch)
            last, inside = now, runtime.seconds
            for each, generation in batch:
                line = dataclasses.replace(
                    line_of(generation, each.question.key),
                    index=each.question.index,
                    seconds=seconds,
                    runner_seconds=runner_seconds,
                )
                yield Answered(
                    line if runtime.timings_count else line.untimed(), generation.first_logits
                )


Batch = list[tuple[Prompted, Generation]]


def _one_by_one(
    runtime: Runtime, prompted: Sequence[Prompted], ahead: PicturesAhead, max_new_tokens: int
) -> Iterator[Batch]:
    generator = Generator(runtime)
    for each in prompted:
        picture = each.question.image
        generation = generator.answer(
            each.prompt,
            _taker(ahead, picture) if picture else None,
            picture.key if picture else None,
            max_new_tokens=max_new_tokens,
        )
        yield [(each, generation)]


def _in_batches(
    runtime: BatchedRuntime, prompted: Sequence[Prompted], ahead: PicturesAhead, max_new_tokens: int
) -> Iterator[Batch]:
    pictures = {image.key: image for each in prompted if (image := each.question.image)}
    asked = [
        Asked(each.prompt, each.question.image.key if each.question.image else None)
        for each in prompted
    ]

    def pixels(key: str) -> Array:
        return ahead.take(pictures[key])

    for batch in answer_batched(runtime, asked, pixels, max_new_tokens=max_new_tokens):
        yield [(prompted[place], generation) for place, generation in batch]


def _taker(ahead: PicturesAhead, picture: Picture) -> Callable[[], Array]:
    return lambda: ahead.take(picture)


def line_of(generation: Generation, key: str) -> AnswerLine:
    """Return a generation as an answer line; its index and the time around it are not known."""
    second, first = np.partition(generation.first_logits, -2)[-2:]
    return AnswerLine(
        key=key,
        ids=tuple(generation.ids),
        margin=float(first - second),
        encode_seconds=generation.encode_seconds,
        first_token_seconds=generation.first_token_seconds,
        text=generation.text,
        ended=generation.ended,
        prefill_seconds=generation.prefill_seconds,
        prefill_tokens=generation.prefill_tokens,
        decode_seconds=generation.decode_seconds,
        decode_steps=generation.decode_steps,
    )
