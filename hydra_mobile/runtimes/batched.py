"""Several questions at a time, for a runtime that reads its weights once for all of them.

A batch holds sequences of one length, so that nothing is padded: each sees what it would see alone,
and answers differ from those of one question at a time by the order of sums only. What stands up
to a picture's end is read once for each picture, however many questions are about it.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hydra_mobile.data.answer_line import Ended
from hydra_mobile.models.processor import Prompt
from hydra_mobile.runtimes.base import Array, CacheState, Runtime
from hydra_mobile.runtimes.generation import Generation, require_finite

Key = TypeVar("Key", bound=Hashable)

#: Rows of a batch: eight read a weight once for eight tokens, and keep little memory busy.
ROWS = 8
#: Questions among which some of one length are looked for.
_QUESTIONS = 64
#: Bytes of the caches of pictures that wait for their questions, beyond the first `ROWS`.
_WAITING_BYTES = 400_000_000


class BatchedRuntime(Runtime):
    """A runtime that continues several sequences of one length in one call."""

    def decode_rows(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Append embeddings [B, n, hidden] to the cache; return the last logits [B, V] and state.

        Args:
            embeddings: n of each sequence.
            state: `CacheState()`, that of the last call with these sequences, or of `take_rows`.
        """
        began = time.perf_counter()
        result = self._decode_rows(embeddings, state)
        self.seconds += time.perf_counter() - began
        return result

    @abstractmethod
    def _decode_rows(self, embeddings: Array, state: CacheState) -> tuple[Array, CacheState]:
        """Do what `decode_rows` says."""

    @abstractmethod
    def take_rows(self, rows: Sequence[tuple[CacheState, int]]) -> CacheState:
        """Return the state of sequences of other batches, all of one length; theirs stay."""

    @abstractmethod
    def state_bytes(self, state: CacheState) -> int:
        """Return the bytes that a state holds."""


@dataclass(frozen=True)
class Asked:
    """A question with its token ids.

    Attributes:
        prompt: the ids.
        picture: names its picture, None without one; equal keys mean equal pictures.
    """

    prompt: Prompt
    picture: str | None


@dataclass
class _Read:
    """What was read so far of one sequence: a row of a state, and the logits [V] behind it."""

    state: CacheState
    row: int
    logits: Array


@dataclass
class _Answer:
    ids: list[int]
    first_logits: Array
    ended: Ended = "stop"


def answer_batched(
    runtime: BatchedRuntime,
    asked: Sequence[Asked],
    pixels: Callable[[str], Array],
    *,
    max_new_tokens: int,
) -> Iterator[list[tuple[int, Generation]]]:
    """Yield the answers of a batch, each with its place in `asked`, as `Generator` gives them.

    Their times are not told: a batch says nothing about the time of a question.

    Args:
        runtime: loaded.
        asked: questions about one picture stand together.
        pixels: returns float32 [3, H, W] of a picture; asked once for each, in their order.
        max_new_tokens: most tokens of an answer.

    Raises:
        ArtifactError: a part of the model gives numbers that are not finite; names it.
    """
    waiting: list[int] = []
    pictures: dict[str, _Read] = {}
    chunk: dict[str, int] = {}
    held = 0
    for place, each in enumerate(asked):
        if len(chunk) == ROWS and each.picture not in chunk:
            held += _read_pictures(runtime, asked, chunk, pixels, pictures)
            if len(waiting) >= _QUESTIONS or held >= _WAITING_BYTES:
                yield from _answers(runtime, asked, waiting, pictures, max_new_tokens)
                waiting, pictures, held = [], {}, 0
        if each.picture is not None:
            chunk.setdefault(each.picture, place)
        waiting.append(place)
    _read_pictures(runtime, asked, chunk, pixels, pictures)
    yield from _answers(runtime, asked, waiting, pictures, max_new_tokens)


def _read_pictures(
    runtime: BatchedRuntime,
    asked: Sequence[Asked],
    chunk: dict[str, int],
    pixels: Callable[[str], Array],
    pictures: dict[str, _Read],
) -> int:
    """Read prompts up to their pictures' ends into `pictures`; return the bytes that they hold.

    Args:
        runtime: loaded.
        asked: all questions.
        chunk: pictures, each with the place of a question about it; empty afterwards.
        pixels: see `answer_batched`.
        pictures: what was read, by picture.
    """
    prompts = []
    for picture, place in chunk.items():
        encoded = runtime.encode_image(pixels(picture)[None])
        require_finite(runtime, encoded, "the vision encoder or the projector")
        before = _embedded(runtime, asked[place].prompt.before)
        prompts.append(np.concatenate([before, runtime.picture_rows(encoded)], axis=1))
    names, held = list(chunk), 0
    chunk.clear()
    for places in _alike([prompt.shape[1] for prompt in prompts]):
        logits, state = _decoded(runtime, [prompts[place] for place in places], CacheState())
        held += runtime.state_bytes(state)
        for row, place in enumerate(places):
            pictures[names[place]] = _Read(state, row, logits[row])
    return held


def _answers(
    runtime: BatchedRuntime,
    asked: Sequence[Asked],
    waiting: Sequence[int],
    pictures: dict[str, _Read],
    max_new_tokens: int,
) -> Iterator[list[tuple[int, Generation]]]:
    """Answer the questions of `waiting`, whose pictures were read."""
    kinds = [_kind(asked[place], pictures) for place in waiting]
    for batch in _alike(kinds):
        places = [waiting[at] for at in batch]
        reads = [pictures.get(asked[place].picture or "") for place in places]
        read = [each for each in reads if each]
        state = runtime.take_rows([(each.state, each.row) for each in read])
        prompts = [asked[place].prompt for place in places]
        ids = [prompt.after if read else prompt.before for prompt in prompts]
        if ids[0]:
            logits, state = _decoded(runtime, [_embedded(runtime, each) for each in ids], state)
        else:  # a caption's template has nothing behind the picture
            logits = np.stack([each.logits for each in read])
        found = _continued(runtime, logits, state, max_new_tokens)
        yield [(place, _generation(runtime, one)) for place, one in zip(places, found, strict=True)]


def _kind(asked: Asked, pictures: dict[str, _Read]) -> tuple[int, int]:
    """Return what questions of a batch have in common: tokens that were read, and to be read."""
    if asked.picture is None:
        return 0, len(asked.prompt.before)
    return pictures[asked.picture].state.length, len(asked.prompt.after)


def _alike(kinds: Sequence[Key]) -> Iterator[list[int]]:
    """Yield the places of equal values, at most `ROWS` together."""
    places: dict[Key, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    for found in places.values():
        for start in range(0, len(found), ROWS):
            yield found[start : start + ROWS]


def _continued(
    runtime: BatchedRuntime, logits: Array, state: CacheState, max_new_tokens: int
) -> list[_Answer]:
    """Go on greedily from logits [B, V] behind the prompts of a batch."""
    answers = [_Answer([], first) for first in logits]
    going = list(range(len(answers)))
    stops = set(runtime.processor.stop_ids)
    while True:
        left: list[int] = []
        for row, token in enumerate(logits.argmax(-1).tolist()):
            answer = answers[going[row]]
            if token in stops:
                continue
            answer.ids.append(token)
            if len(answer.ids) == max_new_tokens:
                answer.ended = "length"
            elif state.length >= runtime.max_context:
                answer.ended = "context"
            else:
                left.append(row)
        if not left:
            return answers
        if len(left) < len(going):
            state = runtime.take_rows([(state, row) for row in left])
            going = [going[row] for row in left]
        last = [_embedded(runtime, answers[place].ids[-1:]) for place in going]
        logits, state = _decoded(runtime, last, state)


def _generation(runtime: BatchedRuntime, answer: _Answer) -> Generation:
    return Generation(
        ids=answer.ids,
        text=runtime.processor.decode(answer.ids),
        first_logits=answer.first_logits,
        encode_seconds=None,
        prefill_seconds=0.0,
        prefill_tokens=0,
        first_token_seconds=None,
        decode_seconds=0.0,
        decode_steps=max(0, len(answer.ids) - (answer.ended != "stop")),
        ended=answer.ended,
    )


def _embedded(runtime: BatchedRuntime, ids: list[int]) -> Array:
    return require_finite(runtime, runtime.embed(ids), "the token embedding")


def _decoded(
    runtime: BatchedRuntime, prompts: Sequence[Array], state: CacheState
) -> tuple[Array, CacheState]:
    logits, state = runtime.decode_rows(np.concatenate(prompts), state)
    return require_finite(runtime, logits, "the text decoder"), state
