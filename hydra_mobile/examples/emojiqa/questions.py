"""The questions of EmojiQA, in the benchmarks' own words, and the choice of wrong answers.

Existence questions follow POPE (random, popular and adversarial absent names), choices follow
MMBench (a letter each, all rotations in the test), one-word answers follow LLaVA's short answers.

A small model learns to answer with a class in minutes; letters, yes/no and names to choose from
take longer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_mobile.examples.emojiqa.names import Thing, confusable, words

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
LETTER_ANSWER = "\nAnswer with the option's letter from the given choices directly."
LETTERS = "ABCD"
ABSENT_KINDS = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class Question:
    """One question about one picture.

    Attributes:
        kind: "yesno", "choice", "class" or "name".
        text: as the model reads it, suffix included.
        answer: the right answer.
        meta: what the scores need besides: how an absent name was chosen, options, rotation.
    """

    kind: str
    text: str
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)


class Pool:
    """The names that one split may speak about, and draws of wrong answers among them."""

    def __init__(self, things: Sequence[Thing], popular: Sequence[Thing]) -> None:
        self.things = list(things)
        self.popular = list(popular)
        self._by_kind: dict[str, list[Thing]] = {}
        for thing in things:
            self._by_kind.setdefault(thing.kind, []).append(thing)
        self._asked: Counter[str] = Counter()

    def absent(self, thing: Thing, how: str, dice: random.Random) -> Thing:
        """Return a thing that is not in a picture of `thing`.

        Args:
            thing: what the picture shows.
            how: "random", "popular" (among the names pictured most often) or "adversarial" (of
                the same class, with a word in common where there is one).
            dice: decides among equals.
        """
        if how == "popular":
            fair = self._fair(self.popular, thing)
        elif how == "adversarial":
            fair = self._fair(self._by_kind.get(thing.kind, []), thing)
            near = [other for other in fair if words(other.name) & words(thing.name)]
            fair = near or fair
        else:
            fair = self._fair(self.things, thing)
        # Ask about each name equally often: else the name alone would give the answer away.
        fair = fair or self._fair(self.things, thing)
        fewest = min(self._asked[other.code] for other in fair)
        chosen = dice.choice([other for other in fair if self._asked[other.code] == fewest])
        self._asked[chosen.code] += 1
        return chosen

    def options(self, thing: Thing, dice: random.Random) -> list[Thing]:
        """Return four different things, `thing` first: two of its class, two of another.

        Were only the right option and one other alike, the options alone would betray the answer.
        """
        chosen = [thing]
        self._add(chosen, self._by_kind.get(thing.kind, []), dice)
        self._add(chosen, [o for o in self.things if o.kind != thing.kind], dice)
        self._add(chosen, self._by_kind.get(chosen[-1].kind, []), dice)
        return chosen

    def _add(self, chosen: list[Thing], candidates: Sequence[Thing], dice: random.Random) -> None:
        def fit(things: Sequence[Thing]) -> list[Thing]:
            return [o for o in things if not any(confusable(o.name, c.name) for c in chosen)]

        # In a small pool a class may have no second name.
        fair = fit(candidates) or fit(self.things) or [o for o in self.things if o not in chosen]
        chosen.append(dice.choice(fair))

    @staticmethod
    def _fair(candidates: Sequence[Thing], thing: Thing) -> list[Thing]:
        return [other for other in candidates if not confusable(other.name, thing.name)]


def presence(thing: Thing) -> Question:
    """Ask for what the picture shows: yes."""
    return Question("yesno", _existence(thing), "yes", {"asked": thing.name})


def absence(thing: Thing, how: str, pool: Pool, dice: random.Random) -> Question:
    """Ask for something else: no."""
    other = pool.absent(thing, how, dice)
    return Question("yesno", _existence(other), "no", {"asked": other.name})


def _existence(thing: Thing) -> str:
    heard_as_vowel = thing.name.startswith(("a", "e", "i", "o", "umb", "up", "hour"))
    heard_as_vowel &= not thing.name.startswith("one-")
    article = "an" if heard_as_vowel else "a"
    return f"Is there {article} {thing.name} in the image?{SHORT_ANSWER}"


def choice(options: Sequence[Thing], position: int) -> Question:
    """Ask which of four, the right one (`options[0]`) standing at `position`.

    The options keep their circular order, so that positions 0 to 3 are the rotations of one
    question.
    """
    names = [options[(index - position) % 4].name for index in range(4)]
    lines = "".join(f"\n{letter}. {name}" for letter, name in zip(LETTERS, names, strict=True))
    text = f"What is in the image?{lines}{LETTER_ANSWER}"
    return Question("choice", text, LETTERS[position], {"options": names, "rotation": position})


def kind_of(thing: Thing) -> Question:
    """Ask for the class."""
    return Question("class", f"What kind of thing is in the image?{SHORT_ANSWER}", thing.kind)


def name_of(thing: Thing) -> Question:
    """Ask for the name."""
    return Question("name", f"What is in the image?{SHORT_ANSWER}", thing.name)


def caption_of(thing: Thing) -> str:
    """Return what stage I learns to say about a picture: its name."""
    return thing.name


def caption_with_class(thing: Thing) -> str:
    """Return name and class, which the alignment of stage I then pulls a picture towards."""
    return f"{thing.name}, {thing.kind}"


def training_questions(
    thing: Thing, turn: int, pool: Pool, positions: Iterator[int], dice: random.Random
) -> list[Question]:
    """Return all questions about one training picture, as many "yes" as "no".

    Args:
        thing: what the picture shows.
        turn: how many pictures came before; the ways to choose an absent name take turns.
        pool: the names of the training split.
        positions: where the right option stands; balanced by the caller.
        dice: decides the rest.
    """
    how = ABSENT_KINDS[turn % len(ABSENT_KINDS)]
    questions = [presence(thing), absence(thing, how, pool, dice), name_of(thing)]
    questions.append(choice(pool.options(thing, dice), next(positions)))
    if thing.kind:
        questions.append(kind_of(thing))
    dice.shuffle(questions)
    return questions
