"""`load` and `Model`: any form of a model, loaded once, and asked about images."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.quiet import quietly
from hydra_mobile.data.answer_line import Ended
from hydra_mobile.models.pictures import as_rgb, open_picture
from hydra_mobile.models.templates import Turn
from hydra_mobile.reporting.notebook import html_facts
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.generation import Generation, Generator
from hydra_mobile.runtimes.model_ref import ModelRef, model_at
from hydra_mobile.runtimes.sampling import Sampler

#: An image file, a PIL image, or pixels uint8 [H, W, 3] (or [H, W] in gray).
ImageLike = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Timings:
    """How long the parts of an answer took, in seconds; None where a part was not needed.

    Attributes:
        encode: the vision encoder; None where the image was still in the cache.
        prefill: the decoder over the prompt.
        prefill_tokens: tokens of the prompt that it read.
        first_token: from the question to the first token; None where the image was in the cache.
        decode: all later tokens.
        decode_steps: of them.
    """

    encode: float | None
    prefill: float
    prefill_tokens: int
    first_token: float | None
    decode: float
    decode_steps: int

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of the tokens behind the first; None for an answer of one token."""
        return self.decode_steps / self.decode if self.decode_steps else None


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: what the model said, special tokens left out.
        ids: generated token IDs, the stop token left out.
        ended: why it ended: a "stop" token, the "length" that was allowed, or the end of the
            model's "context".
        timings: what it took.
    """

    text: str
    ids: tuple[int, ...]
    ended: Ended
    timings: Timings

    def __str__(self) -> str:
        return self.text


class Model:
    """A loaded model: a bundle on its runtime, or a run, merged folder or base in torch.

    Not thread-safe: one question at a time.

    Attributes:
        path: its folder.
        name: what it is, for example "ExecuTorch int4".
        kind: "bundle", "run", "merged" or "base".
        preset: precision of its weights.
        runtime: four operations on arrays, for those who need logits.
    """

    def __init__(self, reference: ModelRef, runtime: Runtime) -> None:
        self.path = reference.path
        self.name = reference.name
        self.kind = reference.kind
        self.preset = reference.preset
        self.runtime = runtime
        self._generator = Generator(runtime)

    @property
    def load_seconds(self) -> float:
        """Seconds that loading took."""
        return self.runtime.load_seconds

    def ask(
        self,
        image: ImageLike | None,
        question: str,
        *,
        max_new_tokens: int = 64,
        stream: Callable[[str], object] | None = None,
        history: Sequence[tuple[str, str]] = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Answer:
        """Answer one question: greedily, or with a temperature by drawing tokens.

        A further question about the same image file, or the same array or image object, costs
        neither encoding nor prefill of the image.

        Args:
            image: a file, a PIL image or pixels uint8 [H, W, 3]; None for a question about none.
            question: without a template.
            max_new_tokens: maximum length of the answer.
            stream: called with each new stretch of text as it comes, in whole characters.
            history: questions and answers so far, about the same image.
            temperature: 0 takes the likeliest token each time; larger values draw more freely.
            top_p: draw from the likeliest tokens whose probabilities sum to this.
            seed: of the draws; equal seeds give equal answers.

        Raises:
            DataError: the image cannot be read, or the model's template knows no conversation.
            HydraError: image, question and answer do not fit into the model's context.
        """
        if max_new_tokens < 1:
            raise HydraError(f"max_new_tokens is {max_new_tokens}, expected at least 1.")
        sampler = Sampler(temperature, top_p, seed)
        picture = None if image is None else _opened(image)
        turns = [Turn(asked, answered) for asked, answered in history]
        prompt = self.runtime.processor.prompt(question, picture is not None, turns)
        text = _TextStream(self.runtime.processor.decode, stream) if stream else None
        with quietly():
            result = self._generator.answer(
                prompt,
                None if picture is None else lambda: picture,
                None if picture is None else _key(picture),
                max_new_tokens=max_new_tokens,
                on_token=text.take if text else None,
                choose=sampler,
            )
        if text:
            text.finish(result.text)
        return _answer(result)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.path})"

    def _repr_html_(self) -> str:
        facts: list[tuple[str, object]] = [
            ("folder", self.path),
            ("kind", self.kind),
            ("precision", self.preset),
            ("context", f"{self.runtime.max_context} tokens"),
            ("loaded in", f"{self.load_seconds:.1f} s"),
        ]
        return html_facts(self.name, facts)


#: Models that somebody still holds, so that loading one again returns the same object.
_LOADED: weakref.WeakValueDictionary[tuple[str, str, int, str], Model] = (
    weakref.WeakValueDictionary()
)


def load(
    model: ModelLike, *, threads: int = 0, device: str = "cpu", own_process: bool = False
) -> Model:
    """Load any form of a model. While it is in use, loading it again returns the same object.

    Args:
        model: a bundle, run, adapter, merged folder or base (object, folder, name, or hub id
            `OWNER/NAME[@REVISION]`), or `BUNDLE#NAME` for another of a bundle's adapters.
        threads: CPU threads; 0 leaves the choice to the runtime.
        device: "cpu", or for models in torch a GPU: "cuda", "cuda:1".
        own_process: nothing else runs in this process, and the runtime may arrange its threads.

    Raises:
        ArtifactError: nothing there that can be loaded, or it is incomplete.
        HydraError: the runtime's package is not installed, or there is no such device.
    """
    with quietly():
        reference = model_at(path_of(model))
        if own_process:
            runtime_class(reference.runner).own_process(threads)
        key = (str(reference.path.absolute()), reference.identity, threads, device)
        loaded = _LOADED.get(key)
        if loaded is None:
            on: dict[str, Any] = {}
            if device != "cpu":
                if reference.runner != "torch":
                    raise HydraError(
                        f"{reference.path} runs on {reference.runner}, which has no device "
                        f"`{device}` here.",
                        'Leave device at "cpu".',
                    )
                on["device"] = device
            runtime = runtime_class(reference.runner).load(reference.path, threads=threads, **on)
            loaded = _LOADED[key] = Model(reference, runtime)
        return loaded


def open_image(file: str | Path) -> Image.Image:
    """Return an image file as a model sees it: upright, RGB.

    Raises:
        DataError: it cannot be read.
    """
    return open_picture(Path(file))


def _opened(image: ImageLike) -> Image.Image:
    """Return the picture as RGB.

    Raises:
        DataError: it cannot be read.
    """
    if isinstance(image, Image.Image):
        return as_rgb(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DataError(
                f"The image is an array {image.dtype} {list(image.shape)}, expected uint8 "
                "[H, W, 3] or [H, W]."
            )
        return Image.fromarray(image).convert("RGB")
    return open_image(image)


def _key(picture: Image.Image) -> str:
    """Return what equal pictures have in common: their pixels."""
    pixels = hashlib.sha256(picture.tobytes()).hexdigest()
    return f"{picture.size} {pixels}"


class _TextStream:
    """Hands an answer on as it comes: whole characters, and in the end all of it."""

    def __init__(
        self, decode: Callable[[list[int]], str], receive: Callable[[str], object]
    ) -> None:
        self._decode = decode
        self._receive = receive
        self._ids: list[int] = []
        self._given = ""

    def take(self, token: int) -> None:
        """Add a token."""
        self._ids.append(token)
        text = self._decode(self._ids)
        # The rest of a character's bytes are tokens that follow.
        if not text.endswith("\ufffd"):
            self.finish(text)

    def finish(self, text: str) -> None:
        """Hand on what is new in `text`."""
        if len(text) > len(self._given) and text.startswith(self._given):
            self._receive(text[len(self._given) :])
            self._given = text


def _answer(result: Generation) -> Answer:
    return Answer(
        result.text,
        tuple(result.ids),
        result.ended,
        Timings(
            result.encode_seconds,
            result.prefill_seconds,
            result.prefill_tokens,
            result.first_token_seconds,
            result.decode_seconds,
            result.decode_steps,
        ),
    )
