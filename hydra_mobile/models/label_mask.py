"""A conversation to ids and labels: what follows its prefix, and what of it is learned.

Two ways, as `Template` describes them, and one for pictures anywhere in the questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hydra_mobile.core.errors import DataError
from hydra_mobile.models.templates import IGNORE_INDEX, Placing, Template, Turn


def in_pieces(
    turns: Sequence[Turn],
    template: Template,
    text_ids: Callable[[str], list[int]],
    with_image: bool,
) -> tuple[list[int], list[int]]:
    """Return ids and labels of turns, every piece of the template tokenized by itself.

    Learned are the answers and the first token of the answer suffix, which teaches the model to
    stop.
    """
    t = template
    ids: list[int] = []
    labels: list[int] = []
    for index, turn in enumerate(turns):
        question = [] if index == 0 else text_ids(t.turn_suffix) + text_ids(t.user_prefix)
        question += text_ids(_asked(turn, t, with_image and index == 0))
        question += text_ids(t.user_suffix) + text_ids(t.answer_prefix)
        answer = text_ids(t.answer_lead + turn.answer)
        suffix = text_ids(t.answer_suffix)
        ids += question + answer + suffix
        labels += [IGNORE_INDEX] * len(question) + answer + suffix[:1]
        labels += [IGNORE_INDEX] * (len(suffix) - 1)
    return ids, labels


def as_whole(
    turns: Sequence[Turn],
    template: Template,
    text_ids: Callable[[str], list[int]],
    with_image: bool,
) -> tuple[list[int], list[int], bool]:
    """Return ids and labels of turns, and whether questions and answers could be told apart.

    The arithmetic of LLaVA: the text is cut into rounds at the answer suffix, and a round into
    question and answer at the text that stands between them. Tokenizing the question alone gives
    the number of its tokens. A conversation that itself holds one of these two texts has rounds
    that this cannot divide; nothing of it is learned.
    """
    text = _text(turns, template, with_image)
    between = template.user_suffix + template.answer_prefix + template.answer_lead
    if not between:
        ids = text_ids(text)
        return ids, list(ids), True
    rounds = text.split(template.answer_suffix)[:-1]
    if any(a_round.count(between) != 1 for a_round in rounds):
        ids = text_ids(text)
        return ids, [IGNORE_INDEX] * len(ids), False
    ids, labels = [], []
    for a_round in rounds:
        asked = a_round[: a_round.index(between) + len(between)]
        round_ids = text_ids(a_round + template.answer_suffix)
        # The lead is a token only here, where nothing follows it: the answer's first word has it.
        unlearned = len(text_ids(asked)) - bool(template.answer_lead)
        unlearned = min(unlearned, len(round_ids))
        ids += round_ids
        labels += [IGNORE_INDEX] * unlearned + round_ids[unlearned:]
    return ids, labels, True


def _text(turns: Sequence[Turn], template: Template, with_image: bool) -> str:
    """Return what follows the picture, or the whole conversation without one."""
    t = template
    text = ""
    for index, turn in enumerate(turns):
        if index > 0:
            text += t.turn_suffix + t.user_prefix
        elif not with_image:
            text += t.start + t.user_prefix
        elif turn.question:  # LLaVA strips picture and question: alone, a picture has no suffix
            text += t.image_suffix
        text += _asked(turn, t, with_image and index == 0)
        text += t.user_suffix + t.answer_prefix + t.answer_lead + turn.answer + t.answer_suffix
    return text


def _asked(turn: Turn, template: Template, behind_picture: bool) -> str:
    """Return a question with what stands before one that follows no picture."""
    question = turn.question if template.questions else ""
    return question if behind_picture else template.question_lead + question


class Placed(NamedTuple):
    """A conversation with pictures in its questions, behind the prefix of one without a picture.

    Attributes:
        ids: of the tokens, those of pictures among them.
        labels: as long as `ids`; the id where it is learned, else -100.
        pictures: where each picture's ids begin and end in `ids`.
    """

    ids: list[int]
    labels: list[int]
    pictures: tuple[tuple[int, int], ...]


def with_places(
    turns: Sequence[Turn],
    template: Template,
    placing: Placing,
    text_ids: Callable[[str], list[int]],
    image_ids: Sequence[int],
) -> Placed:
    """Return ids and labels of turns whose questions hold pictures.

    What stands between two pictures of a question is tokenized as one string, as a checkpoint's own
    processor does.

    Args:
        turns: with their places.
        template: of the rest, tokenized in pieces.
        placing: how pictures are written in questions.
        text_ids: tokenizes a string.
        image_ids: of a picture's place.

    Raises:
        DataError: a question has text before a picture, and the template writes none there.
    """
    t = template
    ids: list[int] = []
    labels: list[int] = []
    pictures: list[tuple[int, int]] = []
    for index, turn in enumerate(turns):
        ids += [] if index == 0 else text_ids(t.turn_suffix) + text_ids(t.user_prefix)
        *before, last = _strings(turn, t, placing)
        for text in before:
            ids += text_ids(text)
            pictures.append((len(ids), len(ids) + len(image_ids)))
            ids += image_ids
        ids += text_ids(last) + text_ids(t.user_suffix) + text_ids(t.answer_prefix)
        labels += [IGNORE_INDEX] * (len(ids) - len(labels))
        answer = text_ids(t.answer_lead + turn.answer)
        suffix = text_ids(t.answer_suffix)
        ids += answer + suffix
        labels += answer + suffix[:1] + [IGNORE_INDEX] * (len(suffix) - 1)
    return Placed(ids, labels, tuple(pictures))


def _strings(turn: Turn, template: Template, placing: Placing) -> list[str]:
    """Return what stands before, between and behind the pictures of a question."""
    texts = [text.strip() for text in turn.texts] if placing.trims else turn.texts
    *before, last = texts
    if not before:
        return [template.question_lead + last]
    if any(before) and placing.before is None:
        raise DataError(
            "A question has text before an image, and this base's chat template writes images "
            "before the text.",
            "Put its <image> marks at the beginning of the question.",
        )
    strings = []
    for number, text in enumerate(before):
        if number == 0:
            lead, alone = template.question_lead, template.image_prefix
        else:
            lead, alone = template.image_suffix, placing.between
        strings.append(f"{lead}{text}{placing.before}" if text else alone)
    return [*strings, template.image_suffix + last if last else placing.end]
