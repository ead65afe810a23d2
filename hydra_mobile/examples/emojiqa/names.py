"""The things EmojiQA asks about: code points, short names and classes, from our table.

The table (`emojiqa_names.tsv`) is fixed, so that a data set does not change with the Unicode
version of the Python that builds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

NO_CLASS = "-"

# Names that hold for pictures of the others too: "Is there a bird?" about an owl has no fair "no".
# (Names that contain one another, such as "cat" and "black cat", are found by their words.)
_GENERIC = {
    "bird": "duck, eagle, owl, parrot, peacock, swan, dove, flamingo, penguin, turkey, rooster, "
    "chicken, hatching chick, baby chick, goose, dodo, phoenix, feather, wing",
    "chicken": "rooster, hatching chick, baby chick",
    "hatching chick": "baby chick, egg",
    "fish": "shark, pufferfish, fishing rod, sushi",
    "whale": "orca, dolphin",
    "mouse": "rat, computer mouse, hamster face",
    "mouse face": "rat, hamster face",
    "dog": "poodle",
    "dog face": "poodle",
    "monkey": "gorilla, orangutan",
    "monkey face": "gorilla, orangutan",
    "beetle": "ladybug, cockroach",
    "cow": "cow face, water buffalo, bison",
    "sheep": "ram",
    "one-humped camel": "two-humped camel",
    "man": "old man, boy, prince, bearded person, man with turban, dancing man, santa claus, "
    "farmer, cook, pilot, judge, scientist, teacher, mechanic, firefighter, guard, detective",
    "woman": "old woman, girl, princess, bride, pregnant woman, dancing woman, mrs. claus, fairy",
    "boy": "baby, student",
    "girl": "princess, student",
    "runner": "walking person",
    "car": "taxi, suv, police car, racing car, pickup truck",
    "suv": "taxi, pickup truck",
    "delivery truck": "semi truck, pickup truck",
    "train": "steam locomotive, tram, monorail, train station",
    "bus": "tram, bus stop",
    "ship": "ferry, passenger ship, motorboat, speedboat, sailboat",
    "motorboat": "speedboat",
    "motorcycle": "motor scooter",
    "house": "abandoned house, hut",
    "office building": "hotel, bank, hospital, school, department store, post office, "
    "convenience store",
    "mountain": "mount fuji, snowy mountain, volcano",
    "sunrise": "sun",
    "cloud": "fog, cyclone",
    "smiling face": "grinning face, hugging face",
    "grinning face": "squinting laughing face",
    "crying face": "face with tears of joy",
    "frowning face": "angry face, confused face",
    "goblin": "ogre",
    "glasses": "sunglasses, goggles, nerd face",
    "boot": "hiking boot",
    "leather shoe": "sneaker, hiking boot",
    "handbag": "purse, backpack, briefcase, luggage",
    "dress": "sari, kimono",
    "swimsuit": "bikini",
    "baseball": "softball",
    "blossom": "sunflower, hibiscus, rose, tulip, cherry blossom, lotus, hyacinth",
    "evergreen tree": "christmas tree",
    "shamrock": "four leaf clover",
    "herb": "seedling",
    "flatbread": "tamale",
    "hamburger": "sandwich",
    "curry rice": "cooked rice, paella",
    "pot of stew": "paella",
    "cocktail": "tropical drink, wine glass, glass of whisky",
    "corn": "popcorn",
    "hammer": "pick",
    "laptop": "desktop computer, keyboard",
    "camera": "video camera, movie camera",
    "telephone": "mobile phone, fax machine",
    "wristwatch": "stopwatch, mantel clock, alarm clock",
    "alarm clock": "mantel clock, timer, stopwatch",
    "envelope": "love letter, red envelope",
    "page": "notebook, clipboard, receipt, scroll, newspaper",
    "newspaper": "rolled-up newspaper",
    "closed book": "green book, blue book, orange book, notebook, stack of books",
    "ballpoint pen": "fountain pen, pencil, crayon",
    "pen nib": "fountain pen",
    "calendar": "spiral calendar",
    "money bag": "dollar banknote",
    "bathtub": "shower",
    "balloon": "speech bubble",
    "sparkler": "fireworks, sparkles",
    "crescent moon": "new moon, full moon",
    "star": "star of david, star and crescent, sparkles, shooting star",
    "red heart": "heart organ",
    "raised fist": "raised hand",
    "eye": "eyes",
    "mouth": "tongue",
    "ocean wave": "surfer",
    "explosion": "bomb, fireworks",
}


@dataclass(frozen=True)
class Thing:
    """One name of the table.

    Attributes:
        code: code points as OpenMoji names its files, for example "1F436".
        name: lower-case, one to five words, without an article.
        kind: its class in one word, or "" when no class question is asked about it.
    """

    code: str
    name: str
    kind: str


@cache
def all_things() -> tuple[Thing, ...]:
    """Return the whole table, in order of code points."""
    text = resources.files(__package__).joinpath("emojiqa_names.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Thing(code, name, "" if kind == NO_CLASS else kind) for code, name, kind in rows)


@cache
def words(name: str) -> frozenset[str]:
    """Return the words of a name that carry meaning."""
    return frozenset(name.split()) - {"of", "with", "in", "and", "the", "person", "face"} or (
        frozenset(name.split())
    )


@cache
def _generic_pairs() -> frozenset[frozenset[str]]:
    return frozenset(
        frozenset((generic, other))
        for generic, others in _GENERIC.items()
        for other in others.split(", ")
    )


def confusable(one: str, other: str) -> bool:
    """Say whether a picture of `one` may fairly be called `other`, or the reverse.

    Such names are never each other's wrong option or "no" question.
    """
    if words(one) <= words(other) or words(other) <= words(one):
        return True
    return frozenset((one, other)) in _generic_pairs()
