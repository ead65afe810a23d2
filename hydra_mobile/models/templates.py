"""Prompt templates as data: the text around a question, a picture and an answer.

A template is a handful of strings, so that a bundle can carry it in its manifest and a phone app
needs no code for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import nearest
from hydra_mobile.core.typed import decode

#: Label of a token that is not learned; what PyTorch's cross entropy ignores.
IGNORE_INDEX = -100


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: text.
        answer: text.
        places: of pictures in the question, as offsets in rising order: each stands before the
            character there. None for the picture before the first question of a conversation that
            has one picture.
    """

    question: str
    answer: str
    places: tuple[int, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The question's texts before, between and behind its pictures: one more than places."""
        ends = (*self.places, len(self.question))
        return [self.question[a:b] for a, b in zip((0, *self.places), ends, strict=True)]


@dataclass(frozen=True)
class Placing:
    """How a checkpoint's template writes pictures elsewhere than before the first question.

    A picture that opens a question, and text behind a picture, are written as `Template` says.

    Attributes:
        before: text between a text and the picture behind it; None: pictures of a question are
            written before its text, whatever the order.
        between: text between two pictures.
        end: text between a picture and what follows the question.
        trims: white space around each text is dropped.
    """

    before: str | None
    between: str
    end: str
    trims: bool = False


@dataclass(frozen=True)
class Template:
    """The pieces of a conversation, in the order in which they are written.

    A turn is `user_prefix` + [`image_prefix`, the image embeddings and `image_suffix`, first turn
    only; else `question_lead`] + question + `user_suffix` + `answer_prefix` + `answer_lead` +
    answer + `answer_suffix`.

    Two ways lead from text to ids. In pieces (the default): every string above is tokenized by
    itself, so that a prefix never depends on its question. As a whole: what stands between a
    picture and the end of an answer, and between the ends of two answers, is tokenized as one
    string, as LLaVA does; published checkpoints have seen nothing else.

    Attributes:
        name: key in `TEMPLATES`.
        start: text before the first turn (system prompt).
        user_prefix: text before a question.
        image_suffix: text between the image embeddings and the question.
        user_suffix: text after a question.
        answer_prefix: text before an answer; generation begins after it.
        answer_suffix: text after an answer; its first token ends generation and is learned.
        turn_suffix: text between turns; never learned.
        whole: tokenize as a whole, not in pieces.
        bos: the sequence opens with the tokenizer's BOS token, if it has one.
        answer_lead: text between `answer_prefix` and an answer in training; generation begins
            without it, because the first token of an answer carries it.
        questions: False drops the questions: a picture, then its caption.
        image_prefix: text between `user_prefix` and the image embeddings.
        question_lead: text before a question that has no picture before it; one string with it.
    """

    name: str
    start: str
    user_prefix: str
    image_suffix: str
    user_suffix: str
    answer_prefix: str
    answer_suffix: str
    turn_suffix: str
    # Folders and bundles of the first version lack what follows; theirs are the defaults.
    whole: bool = False
    bos: bool = False
    answer_lead: str = ""
    questions: bool = True
    image_prefix: str = ""
    question_lead: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the template as manifests store it."""
        value = asdict(self)
        # Hashes of what has neither stay what they were.
        return {k: v for k, v in value.items() if v or k not in ("image_prefix", "question_lead")}

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str) -> Template:
        """Read a stored template; `where` names the file for the message.

        Raises:
            ArtifactError: a piece is missing or unknown, or of the wrong type.
        """
        return decode(cls, value, f"{where}, template")


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
        # LLaVA-1.5 and MobileVLM, token for token (`docs/templates.md`).
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
            answer_lead=" ",
            answer_suffix="</s>",
            turn_suffix="",
            whole=True,
            bos=True,
        ),
        # Their stage I: a picture, then its caption.
        Template(
            name="plain",
            start="",
            user_prefix="",
            image_suffix="",
            user_suffix="",
            answer_prefix="",
            answer_suffix="\n",
            turn_suffix="",
            whole=True,
            bos=True,
            questions=False,
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
