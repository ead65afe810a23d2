"""Our template from a checkpoint's own chat template, compared token by token.

The chat template is rendered with marks in place of questions and answers and cut at the marks.
What stands between them is the template, if it says the same for every question: that is checked on
questions which tokenizers like to join with what stands around them. How it writes pictures in
questions is found and checked the same way; one that cannot be expressed there is read with one
picture a conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.families.pixels import read_settings
from hydra_mobile.models.hub_files import CHAT_TEMPLATE, TOKENIZER_CONFIG
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import Placing, Template, Turn

_QUESTIONS = ("What is in the image?", "42 apples", "yes", "Où est-ce ? 漢字")
_ANSWERS = ("A cat.", "7", "No", "là")
_Q1, _A1, _Q2, _A2 = "QqFirst", "AaFirst", "QqSecond", "AaSecond"
#: A message: texts, and None for each picture.
_Parts = Sequence[str | None]


@dataclass(frozen=True)
class Around:
    """How a checkpoint's processor writes a picture.

    Attributes:
        token: what stands for each embedding.
        before: text that the processor puts before the embeddings of a picture.
        after: text that it puts behind them.
        marker: what the chat template has for a picture; empty: `token`.
    """

    token: str
    before: str = ""
    after: str = ""
    marker: str = ""

    @property
    def mark(self) -> str:
        """What the chat template has for a picture."""
        return self.marker or self.token


def derived_processor(
    folder: Path, image: ImagePreprocessing, around: Around, image_tokens: int
) -> MobileVLMProcessor:
    """Return the processor of a checkpoint.

    Args:
        folder: of the checkpoint.
        image: its preprocessing.
        around: how it writes a picture.
        image_tokens: embeddings of a picture.

    Raises:
        ArtifactError: a file is missing; the image token is none of the tokenizer's; or the chat
            template cannot be expressed as ours.
    """
    file = folder / "tokenizer.json"
    with reading(file, "a tokenizer", "Fetch the checkpoint again.", also=(Exception,)):
        tokenizer = Tokenizer.from_file(str(file))
    image_id = tokenizer.token_to_id(around.token)
    config = read_settings(folder / "config.json")
    if image_id is None or image_id != config.get("image_token_id", image_id):
        raise ArtifactError(
            f"{file}: the image token `{around.token}` has id {image_id}, config.json says "
            f"{config.get('image_token_id')}.",
            "Tokenizer and model belong to different checkpoints.",
        )
    chat = _ChatTemplate(folder, tokenizer)
    processor = MobileVLMProcessor(
        tokenizer,
        _derived(chat, around),
        image,
        image_token_id=image_id,
        num_image_tokens=image_tokens,
    )
    _require_same_tokens(processor, chat, around)
    processor.placing = _placing(processor, chat, around)
    return processor


class _ChatTemplate:
    """A checkpoint's chat template, and what it names."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.file, self._text = read_chat_template(folder)
        self.tokenizer = tokenizer
        settings = folder / TOKENIZER_CONFIG
        stored = read_settings(settings) if settings.is_file() else {}
        self._tokens = {
            name: value["content"] if isinstance(value, dict) else value
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if (value := stored.get(name))
        }

    def render(self, *texts: str, picture: bool = True, answering: bool = False) -> str:
        """Return a conversation of questions and answers in turn, the picture in the first."""
        messages: list[_Parts] = [(text,) for text in texts]
        if picture:
            messages[0] = (None, *messages[0])
        return self.render_parts(*messages, answering=answering)

    def render_parts(self, *contents: _Parts, answering: bool = False) -> str:
        """Return a conversation of questions and answers in turn, pictures anywhere in them."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        messages: list[dict[str, Any]] = []
        for index, parts in enumerate(contents):
            content = [
                {"type": "image"} if part is None else {"type": "text", "text": part}
                for part in parts
            ]
            messages.append({"role": ("user", "assistant")[index % 2], "content": content})
        with reading(self.file, "a chat template", "Look at it.", also=(TemplateError,)):
            found: Any = render_jinja_template(
                conversations=[messages],
                chat_template=self._text,
                add_generation_prompt=answering,
                **self._tokens,
            )
        while not isinstance(found, str):  # a list of texts, beside it masks that are not asked for
            found = found[0]
        return found

    def opens_with_bos(self, text: str) -> bool:
        """Whether the tokenizer opens a rendered text with its BOS, which the text does not have.

        As transformers' processors ask for it.
        """
        bos = self._tokens.get("bos_token")
        return not (bos and text.startswith(bos)) and bool(self.tokenizer.encode("").ids)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a rendered text, as transformers' processors do."""
        own = self.opens_with_bos(text)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=own).ids
        return ids


def read_chat_template(folder: Path) -> tuple[Path, str]:
    """Return a checkpoint's chat template and the file that holds it."""
    file = folder / CHAT_TEMPLATE
    if file.is_file():
        with reading(file, "a chat template", "Fetch the checkpoint again."):
            return file, file.read_text("utf-8")
    for name in ("chat_template.json", "processor_config.json", TOKENIZER_CONFIG):
        if (folder / name).is_file():
            text = read_settings(folder / name).get("chat_template")
            if isinstance(text, str):
                return folder / name, text
    raise ArtifactError(
        f"{folder} has no chat template: expected {CHAT_TEMPLATE}, or the key `chat_template` in "
        f"chat_template.json or {TOKENIZER_CONFIG}.",
        "Base models without one were not trained to answer; take the instruction-tuned one.",
    )


def _derived(chat: _ChatTemplate, around: Around) -> Template:
    """Return the template that a chat template amounts to."""
    head, image_suffix, asked = _cut(chat, chat.render(_Q1, answering=True), around.mark, _Q1)
    _, _, answering, between, _, tail = _cut(
        chat, chat.render(_Q1, _A1, _Q2, _A2), around.mark, _Q1, _A1, _Q2, _A2
    )
    plain = _cut(chat, chat.render(_Q1, picture=False, answering=True), _Q1)[0]
    if not answering.startswith(asked):
        raise _inexpressible(chat, "an answer does not begin where generation does")
    # A space is of what follows it: tokenizers join it with the question.
    common = _common_start(head, plain).rstrip(" ")
    lead = plain[len(common) :]
    # Some write the end of an answer only where another question follows.
    tail = tail or between[: len(between) - len(_common_end(between, common + lead))]
    if not between.startswith(tail) or not between.endswith(lead):
        raise _inexpressible(chat, "later turns are written in another way than the first")
    user_prefix = between[len(tail) : len(between) - len(lead)]
    if not common.endswith(user_prefix):
        raise _inexpressible(chat, "later questions are opened in another way than the first")
    suffix = _first_special(tail, chat.tokenizer)
    return Template(
        name="own",
        start=common[: len(common) - len(user_prefix)],
        user_prefix=user_prefix,
        image_prefix=head[len(common) :] + around.before,
        image_suffix=around.after + image_suffix,
        question_lead=lead,
        user_suffix=asked,
        answer_prefix="",
        answer_lead=answering[len(asked) :],
        answer_suffix=suffix,
        turn_suffix=tail[len(suffix) :],
        bos=chat.opens_with_bos(plain),
    )


def _cut(chat: _ChatTemplate, text: str, *marks: str) -> list[str]:
    """Return what stands before, between and behind marks."""
    parts = []
    for mark in marks:
        part, found, text = text.partition(mark)
        if not found:
            raise _inexpressible(chat, f"it renders no `{mark}` where one is asked for")
        parts.append(part)
    return [*parts, text]


def _placing(processor: MobileVLMProcessor, chat: _ChatTemplate, around: Around) -> Placing | None:
    """Return how a chat template writes pictures in questions; None: it cannot be expressed."""
    try:
        found = _derived_placing(processor.template, chat, around)
        _require_same_places(processor, found, chat, around)
    except ArtifactError:
        return None
    return found


def _derived_placing(template: Template, chat: _ChatTemplate, around: Around) -> Placing:
    mark = around.mark

    def cut(parts: _Parts, *marks: str) -> list[str]:
        return _cut(chat, chat.render_parts(parts, answering=True), *marks)

    _, between, _, _ = cut((None, None, _Q1), mark, mark, _Q1)
    between = around.after + between + around.before
    spaced = f" {_Q1} "
    trims = spaced not in chat.render_parts((spaced,))
    try:
        before = cut((_Q1, None, _Q2), _Q1, mark, _Q2)[1] + around.before
        end = cut((_Q1, None), _Q1, mark)[2]
    except ArtifactError:
        # Pictures come first, whatever the order; one alone says what stands behind it.
        before, end = None, cut((None,), mark)[1]
    if not end.endswith(template.user_suffix):
        raise _inexpressible(chat, "a question that ends in a picture is ended in another way")
    end = around.after + end[: len(end) - len(template.user_suffix)]
    return Placing(before, between, end, trims)


def _require_same_places(
    processor: MobileVLMProcessor, placing: Placing, chat: _ChatTemplate, around: Around
) -> None:
    """Raise unless pictures in questions have the ids that the checkpoint's own template gives."""
    picture = _picture(processor, around)
    processor = processor.placed(placing)
    for question, answer in zip(_QUESTIONS, _ANSWERS, strict=True):
        middle: _Parts = (question, None, None, answer, None)
        if placing.before is None:
            middle = (None, None)
        conversation = ((None, None, question), (question,), (None, question), middle)
        asked = [turn_of(parts, answer) for parts in conversation]
        record = processor.encode_record(asked, False)
        contents = [parts for turn in conversation for parts in (turn, (answer,))]
        text = chat.render_parts(*contents, (question,)).replace(around.mark, picture)
        ours = [*record.prefix, *record.ids]
        _require_equal(processor, chat, ours, chat.ids(text)[: len(ours)], "pictures in questions")


def turn_of(question: Sequence[str | None], answer: str) -> Turn:
    """Return a turn whose question is texts and, for each None, a picture."""
    text, places = "", []
    for part in question:
        if part is None:
            places.append(len(text))
        else:
            text += part
    return Turn(text, answer, tuple(places))


def _picture(processor: MobileVLMProcessor, around: Around) -> str:
    """Return what a checkpoint's processor writes for a picture."""
    square, tiles = around.token * processor.num_image_tokens, processor.image.tiles
    inside = "".join(text + square for text in tiles.texts) if tiles else square
    return around.before + inside + around.after


def _common_start(one: str, other: str) -> str:
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return one[:at]


def _common_end(one: str, other: str) -> str:
    return _common_start(one[::-1], other[::-1])[::-1]


def _first_special(text: str, tokenizer: Tokenizer) -> str:
    """Return the control token that a text begins with; else all of it."""
    tokens = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
    return max((t for t in tokens if text.startswith(t)), key=len, default=text)


def _require_same_tokens(
    processor: MobileVLMProcessor, chat: _ChatTemplate, around: Around
) -> None:
    """Raise unless our template gives the ids that the checkpoint's own processor gives."""
    picture = _picture(processor, around)

    def theirs(text: str) -> list[int]:
        return chat.ids(text.replace(around.mark, picture, 1))

    image = processor.image_ids
    for question, answer in zip(_QUESTIONS, _ANSWERS, strict=True):
        for pictured in (True, False):
            prompt = processor.prompt(question, with_image=pictured)
            ours = [*prompt.before, *(image if pictured else []), *prompt.after]
            wanted = theirs(chat.render(question, picture=pictured, answering=True))
            _require_equal(processor, chat, ours, wanted, f"the question `{question}`")
            turns = [Turn(question, answer), Turn(answer, question)]
            record = processor.encode_record(turns, pictured)
            # What follows the last answer's end is of a third question.
            conversation = (question, answer, answer, question, question)
            wanted = theirs(chat.render(*conversation, picture=pictured))
            ours = [*record.prefix, *record.ids]
            _require_equal(processor, chat, ours, wanted[: len(ours)], "two questions in turn")


def _require_equal(
    processor: MobileVLMProcessor, chat: _ChatTemplate, ours: list[int], wanted: list[int], of: str
) -> None:
    if ours == wanted:
        return
    pairs = list(zip(ours, wanted, strict=False))
    at = next((i for i, (one, other) in enumerate(pairs) if one != other), len(pairs))
    around = slice(max(0, at - 2), at + 3)
    raise _inexpressible(
        chat,
        f"for {of}, ids part at position {at}: "
        f"{[processor.tokenizer.id_to_token(i) for i in ours[around]]} here, "
        f"{[processor.tokenizer.id_to_token(i) for i in wanted[around]]} there",
    )


def _inexpressible(chat: _ChatTemplate, why: str) -> ArtifactError:
    return ArtifactError(
        f"{chat.file}: the chat template cannot be expressed as ours: {why}.",
        "Only templates that write the same around every question can.",
    )
