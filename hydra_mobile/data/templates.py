"""Prompt templates as data: the text around a question, a picture and an answer.

A template is a handful of strings, so that a bundle can carry it in its manifest and a phone app
needs no code for it. Knows no tokenizer; `MobileVLMProcessor` turns its pieces into ids.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from hydra_mobile.errors import ArtefactError, HydraError
from hydra_mobile.registry import nearest

#: Label of a token that is not learned; what PyTorch's cross entropy ignores.
IGNORE_INDEX = -100


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Template:
    """The pieces of a conversation, in the order in which they are written.

    A turn is `user_prefix` + [`image_suffix` after the image embeddings, first turn only] +
    question + `user_suffix` + `answer_prefix` + answer + `answer_suffix`. Image embeddings stand
    right after the first `user_prefix`.

    Attributes:
        name: key in `TEMPLATES`.
        start: text before the first turn (system prompt).
        user_prefix: text before a question.
        image_suffix: text between the image embeddings and the question.
        user_suffix: text after a question.
        answer_prefix: text before an answer; generation begins after it.
        answer_suffix: text after an answer; its first token ends generation and is learned.
        turn_suffix: text between turns; never learned.
    """

    name: str
    start: str
    user_prefix: str
    image_suffix: str
    user_suffix: str
    answer_prefix: str
    answer_suffix: str
    turn_suffix: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the template as manifests store it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> Template:
        """Read a stored template; `where` names the file for the message.

        Raises:
            ArtefactError: a piece is missing or is no text.
        """
        pieces = {}
        for field in fields(cls):
            piece = value.get(field.name)
            if not isinstance(piece, str):
                raise ArtefactError(
                    f"{where}: template key `{field.name}` is {piece!r}, expected a string."
                )
            pieces[field.name] = piece
        return cls(**pieces)


TEMPLATES = {
    template.name: template
    for template in (
        # SmolLM2's ChatML without a system turn: its text would cost 20 tokens in every prompt.
        Template(
            name="chatml",
            start="",
            user_prefix="<|im_start|>user\n",
            image_suffix="\n",
            user_suffix="<|im_end|>\n",
            answer_prefix="<|im_start|>assistant\n",
            answer_suffix="<|im_end|>",
            turn_suffix="\n",
        ),
        # LLaVA-1.5 and MobileVLM ("v1" there).
        Template(
            name="v1",
            start=(
                "A chat between a curious user and an artificial intelligence assistant. "
                "The assistant gives helpful, detailed, and polite answers to the user's "
                "questions. "
            ),
            user_prefix="USER: ",
            image_suffix="\n",
            user_suffix=" ",
            answer_prefix="ASSISTANT:",
            answer_suffix="</s>",
        ),
        # Stage I of LLaVA: a picture, then its caption; the question is dropped by the data.
        Template(
            name="plain",
            start="",
            user_prefix="",
            image_suffix="",
            user_suffix="",
            answer_prefix="",
            answer_suffix="\n",
        ),
    )
}


def template_named(name: str) -> Template:
    """Return the template called `name`.

    Raises:
        HydraError: there is none; the message lists those that exist.
    """
    if name not in TEMPLATES:
        raise HydraError(f"Unknown template `{name}`.", nearest(name, TEMPLATES))
    return TEMPLATES[name]
