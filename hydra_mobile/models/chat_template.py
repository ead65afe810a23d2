"""A prompt template as a Jinja chat template, and rendered conversations back to token IDs.

transformers renders a conversation to one text and tokenizes that. Our templates say where a text
is cut before it is tokenized, which no text can carry: `rendered_ids` finds the cuts again, so that
a conversation has the same IDs by either road.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hydra_mobile.core.errors import HydraError
from hydra_mobile.models.templates import Template

#: Stands for the image embeddings in a rendered conversation.
IMAGE_MARK = "<image>"

_JINJA = """\
{{%- set seen = namespace(turns=0) -%}}
{bos}{{{{- {start} -}}}}
{{%- for message in messages -%}}
{{%- set part = namespace(text='', images=0) -%}}
{{%- if message['content'] is string -%}}
{{%- set part.text = message['content'] -%}}
{{%- else -%}}
{{%- for item in message['content'] -%}}
{{%- if item['type'] == 'text' -%}}{{%- set part.text = part.text + item['text'] -%}}
{{%- elif item['type'] == 'image' -%}}{{%- set part.images = part.images + 1 -%}}
{{%- else -%}}{{{{- raise_exception('Content is text or an image, not ' + item['type']) -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- endif -%}}
{{%- if message['role'] == 'user' -%}}
{{%- if seen.turns -%}}{{{{- {turn_suffix} -}}}}{{%- endif -%}}
{{{{- {user_prefix} -}}}}
{{%- if part.images -%}}
{{%- if seen.turns or part.images > 1 -%}}
{{{{- raise_exception('One image is supported, in the first user message') -}}}}
{{%- endif -%}}
{{{{- {image} -}}}}
{{%- endif -%}}
{question}{{{{- {user_suffix} -}}}}
{{%- set seen.turns = seen.turns + 1 -%}}
{{%- elif message['role'] == 'assistant' -%}}
{{{{- {answer_prefix} + {answer_lead} + part.text + {answer_suffix} -}}}}
{{%- else -%}}
{{{{- raise_exception('This template has no place for the role ' + message['role']) -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- {answer_prefix} -}}}}{{%- endif -%}}
"""


def is_derived(template: Template) -> bool:
    """Return whether the template was derived from a checkpoint's own, which says more."""
    return bool(template.image_prefix or template.question_lead)


def chat_template(template: Template) -> str:
    """Return the template in Jinja, for `chat_template.jinja` of a model folder.

    It takes `messages` with the roles "user" and "assistant", whose content is a text or a list of
    text and image items, `add_generation_prompt` and, where the template opens with BOS,
    `bos_token`.

    Raises:
        HydraError: the template was derived from another one in Jinja.
    """
    if is_derived(template):
        raise HydraError(
            f"Template `{template.name}` has an `image_prefix` or a `question_lead`, which our "
            "chat template does not write.",
            "Keep the chat template of the checkpoint that it was derived from.",
        )
    pieces = {
        name: _literal(getattr(template, name))
        for name in (
            *("start", "user_prefix", "user_suffix", "answer_prefix"),
            *("answer_lead", "answer_suffix", "turn_suffix"),
        )
    }
    return _JINJA.format(
        bos="{{- bos_token | default('') -}}\n" if template.bos else "",
        image=_literal(IMAGE_MARK + template.image_suffix),
        question="{{- part.text -}}\n" if template.questions else "",
        **pieces,
    )


def _literal(text: str) -> str:
    """Return a Jinja string literal of `text`, in ASCII."""
    escaped = text.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return f"'{escaped}'"


@dataclass(frozen=True)
class _Conversation:
    """A rendered conversation, cut.

    Attributes:
        image: whether an image follows the opening.
        rounds: the pieces of each question with its answer; those before an image are not in it.
    """

    image: bool
    rounds: list[list[str]]


def rendered_ids(
    text: str,
    template: Template,
    text_ids: Callable[[str], list[int]],
    *,
    bos: tuple[str, list[int]],
    image_ids: list[int],
) -> list[int] | None:
    """Return the IDs of a rendered conversation; None where `text` is not one of this template.

    Args:
        text: as `chat_template` renders it, whole turns or ending in an answer to continue.
        template: that it was rendered with.
        text_ids: tokenizes a text, nothing added.
        bos: text and IDs of BOS, where the template opens with it.
        image_ids: in place of the image.
    """
    bos_text, bos_ids = bos
    if bos_text:
        text = text.removeprefix(bos_text)
    found = _cut(text, template)
    if found is None:
        return None
    opening = [template.start, template.user_prefix]
    rounds = found.rounds
    ids = list(bos_ids)
    if found.image:
        ids += _ids([opening], template, text_ids) + image_ids
    else:
        rounds = [opening + rounds[0], *rounds[1:]]
    return ids + _ids(rounds, template, text_ids)


def _ids(
    rounds: list[list[str]], template: Template, text_ids: Callable[[str], list[int]]
) -> list[int]:
    """Return the IDs of rounds: each as one text, or each piece by itself."""
    joined = ["".join(pieces) for pieces in rounds]
    texts = joined if template.whole else [piece for pieces in rounds for piece in pieces]
    return [token for text in texts for token in text_ids(text)]


def _cut(text: str, template: Template) -> _Conversation | None:
    t = template
    opening = t.start + t.user_prefix
    if not text.startswith(opening):
        return None
    rest = text[len(opening) :]
    image = rest.startswith(IMAGE_MARK)
    rounds: list[list[str]] = []
    if image:
        if not rest.startswith(IMAGE_MARK + t.image_suffix):
            return None
        rest = rest[len(IMAGE_MARK + t.image_suffix) :]
    while True:
        pieces = [t.turn_suffix, t.user_prefix] if rounds else [t.image_suffix] if image else []
        asked = _question(rest, t)
        if asked is None:
            return None
        question, answered, rest = asked
        pieces += [question, t.user_suffix]
        rounds.append(pieces)
        if not answered:
            return _Conversation(image, rounds)
        pieces.append(t.answer_prefix)
        if not rest:
            return _Conversation(image, rounds)
        answer, end, rest = rest.partition(t.answer_suffix)
        pieces += [answer, end]
        if not rest:
            return _Conversation(image, rounds)
        if not rest.startswith(t.turn_suffix + t.user_prefix):
            return None
        rest = rest[len(t.turn_suffix + t.user_prefix) :]


def _question(text: str, template: Template) -> tuple[str, bool, str] | None:
    """Return a question, whether an answer's place follows it, and what is behind that place."""
    between = template.user_suffix + template.answer_prefix
    if not template.questions:
        return ("", True, text[len(between) :]) if text.startswith(between) else None
    if between and between in text:
        question, _, rest = text.partition(between)
        return question, True, rest
    if template.user_suffix and text.endswith(template.user_suffix):
        return text.removesuffix(template.user_suffix), False, ""
    return None
