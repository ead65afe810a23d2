"""One greedy loop for every runner, so that answers differ only where the numbers do.

Keeps the last picture's prefix in the cache: the next question about the same picture costs neither
an encoding nor a prefill of the image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.data.answer_line import Ended
from hydra_mobile.models.processor import Prompt
from hydra_mobile.runtimes.base import Array, CacheState, Runtime


@dataclass(frozen=True)
class Generation:
    """An answer and what it took.

    Attributes:
        ids: generated token ids, the stop token left out.
        text: their text.
        first_logits: float32 [V] at the first generated position.
        encode_seconds: the vision encoder; None when the prefix was in the cache.
        prefill_seconds: the decoder over the prompt (and the picture, unless it was in the cache).
        prefill_tokens: tokens in that prefill.
        first_token_seconds: from the call to the first token, encoding included; None when the
            prefix was in the cache, because no user ever sees that time.
        decode_seconds: all later tokens.
        decode_steps: decoder calls in `decode_seconds`.
        ended: at a stop token, at `max_new_tokens`, or because the context was full.
    """

    ids: list[int]
    text: str
    first_logits: Array
    encode_seconds: float | None
    prefill_seconds: float
    prefill_tokens: int
    first_token_seconds: float | None
    decode_seconds: float
    decode_steps: int
    ended: Ended


def _largest(logits: Array) -> int:
    return int(logits.argmax())


class Generator:
    """Answers questions with one runner."""

    def __init__(self, runner: Runtime) -> None:
        self.runner = runner
        self._prefix_key: str | None = None
        self._prefix_state = CacheState()
        self._prefix_logits: Array = np.zeros(0, dtype=np.float32)

    def answer(
        self,
        question: str | Prompt,
        image: Callable[[], Image.Image | Array] | None = None,
        image_key: str | None = None,
        *,
        max_new_tokens: int = 16,
        stop: bool = True,
        on_token: Callable[[int], None] | None = None,
        choose: Callable[[Array], int] = _largest,
    ) -> Generation:
        """Answer one question, greedily unless `choose` says otherwise.

        Args:
            question: its text without the template, or its token ids.
            image: opens the picture, or gives its pixels float32 [3, H, W] where somebody has
                prepared them; called only when it is not in the cache.
            image_key: equal keys mean equal pictures.
            max_new_tokens: most tokens to generate.
            stop: end at the template's stop token; off for timing a fixed length.
            on_token: called with each token id as it comes.
            choose: logits float32 [V] -> the next token's id.

        Raises:
            HydraError: prompt and answer do not fit into the runner's context, or fewer than one
                token is to be generated.
            ArtifactError: a part of the model gives numbers that are not finite; names it.
        """
        if max_new_tokens < 1:
            raise HydraError(
                f"max_new_tokens is {max_new_tokens}, expected at least 1: an answer has a token."
            )
        try:
            return self._answer(question, image, image_key, max_new_tokens, stop, on_token, choose)
        except BaseException:
            # Broken off between two layers, by Ctrl-C for example, the cache of the prefix has more
            # tokens in some than in others: it must not answer the next question.
            self._prefix_key = None
            raise

    def _answer(
        self,
        question: str | Prompt,
        image: Callable[[], Image.Image | Array] | None,
        image_key: str | None,
        max_new_tokens: int,
        stop: bool,
        on_token: Callable[[int], None] | None,
        choose: Callable[[Array], int],
    ) -> Generation:
        runner, processor = self.runner, self.runner.processor
        if isinstance(question, str):
            prompt = processor.prompt(question, with_image=image is not None)
        else:
            prompt = question
        began = time.perf_counter()
        encode: float | None = None
        state, prefill_tokens, prefix_seconds = CacheState(), 0, 0.0
        ids = prompt.before
        if image is not None:
            if image_key is None or image_key != self._prefix_key:
                encode, prefix_seconds = self._take_picture(image(), prompt.before)
                self._prefix_key = image_key
                prefill_tokens = self._prefix_state.length
            state, ids = self._prefix_state, prompt.after
        else:
            self._prefix_key = None
        prefill_began = time.perf_counter()
        if ids:
            logits, state = self._decode(self._embed(ids), state)
        else:  # a caption's template has nothing behind the picture
            logits = self._prefix_logits
        token = choose(logits)
        first_token_at = time.perf_counter()
        first_logits = logits
        generated: list[int] = []
        steps = 0
        ended: Ended = "stop"
        stops = set(processor.stop_ids) if stop else set()
        while token not in stops:
            generated.append(token)
            if on_token:
                on_token(token)
            if len(generated) == max_new_tokens:
                ended = "length"
                break
            if state.length >= runner.max_context:
                ended = "context"
                break
            logits, state = self._decode(self._embed([token]), state)
            token = choose(logits)
            steps += 1
        ended_at = time.perf_counter()
        return Generation(
            ids=generated,
            text=processor.decode(generated),
            first_logits=first_logits,
            encode_seconds=encode,
            prefill_seconds=prefix_seconds + first_token_at - prefill_began,
            prefill_tokens=prefill_tokens + len(ids),
            first_token_seconds=None if encode is None else first_token_at - began,
            decode_seconds=ended_at - first_token_at,
            decode_steps=steps,
            ended=ended,
        )

    def _take_picture(self, image: Image.Image | Array, before: list[int]) -> tuple[float, float]:
        """Encode a picture and prefill the prefix; return seconds of both."""
        runner = self.runner
        prepared = runner.processor.preprocess(image) if isinstance(image, Image.Image) else image
        pixels = prepared[None]
        began = time.perf_counter()
        features = self._finite(runner.encode_image(pixels), "the vision encoder or the projector")
        encoded = time.perf_counter()
        picture = self.runner.picture_rows(features)
        embeddings = np.concatenate([self._embed(before), picture], axis=1)
        self._prefix_logits, self._prefix_state = self._decode(embeddings, CacheState())
        return encoded - began, time.perf_counter() - encoded

    def _embed(self, ids: list[int]) -> Array:
        return self._finite(self.runner.embed(ids), "the token embedding")

    def _decode(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        logits, state = self.runner.decode(embeddings, state)
        return self._finite(logits, "the text decoder"), state

    def _finite(self, values: Array, part: str) -> Array:
        return require_finite(self.runner, values, part)


def require_finite(runner: Runtime, values: Array, part: str) -> Array:
    """Return what a part of a model computed: the largest of logits with NaN is any token.

    Raises:
        ArtifactError: numbers are not finite; names the part.
    """
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ArtifactError(
            f"{runner.name}, {runner.precision}: {count:,} of {values.size:,} "
            f"numbers from {part} are not finite, so there is no answer.",
            "Its inputs were finite: a weight is not, or is too large for this precision. "
            "`hydra-mobile export` of the merged model names it.",
        )
    return values
