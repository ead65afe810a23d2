"""Ten thousand strings on which tokenizers go wrong: the questions that nobody types, and some do.

Emoji in sequences, scripts from right to left, combining marks, controls, runs of white space, what
looks like a special token, half surrogate pairs, broken UTF-8. The same on every machine.

How broken text becomes text, here and in the app: a surrogate without its other half is U+FFFD; in
broken UTF-8 each longest beginning of a character that is not completed is one U+FFFD (Unicode's
recommendation, and what Python's `errors="replace"` does).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECES: tuple[tuple[str, ...], ...] = (
    ("Is", "there", "a", "red", "car", "in", "the", "image", "Answer", "briefly", "cat's", "I'll"),
    ("'s", "'re", "'Ve", "it's", "don't", "we'd've", "'", "''t", "'ll'm", "rock'n'roll"),
    (
        "0",
        "7",
        "42",
        "1234567890",
        "3.14",
        "1,000",
        "²³",
        "½",
        "Ⅷ",
        "٣٤",
        "१२",
        "\U0001d7d8\U0001d7d9",
        "㊿",
    ),
    (" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u3000", "\u2009 ", "\u0085"),
    (
        "😀",
        "👍🏽",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈",
        "🇩🇪🇯🇵",
        "🇩",
        "❤️",
        "☺",
        "1️⃣",
        "🧑🏿‍🚀",
        "\ufe0f",
        "\u200d",
        "🫠",
    ),
    ("日本語", "中文字", "汉", "한국어", "ㄱ", "カタカナ", "𠀀𠮷", "。", "「", "々"),
    ("שלום", "مرحبا", "\u200f", "ﷺ", "السلام عليكم", "א", "\u202e", "ی"),
    ("e\u0301", "n\u0303", "Z\u0351\u0321\u0317", "\u0301", "क्षि", "ก็", "ñ", "Å", "\u20e3", "ﬁ"),
    ("\0", "\x01", "\x1b[0m", "\x7f", "\u200b", "\ufeff", "\u2028", "\ufffd", "\uffff", "\x1c"),
    ("<|im_start|>", "<|im_end|>", "<|im_end|", "<s>", "</s>", "<unk>", "<image>", "<0x41>"),
    (
        "<|endoftext|>",
        "<|im_start|>user\n",
        "▁",
        "▁▁a",
        "<<s>>",
        "<|im_start|><|im_end|>",
        "Ġ",
        "Ċ",
    ),
    ("!", "?", "...", "\u2013", "@#$", "://", "\\n", '"', "{}", "“x”", "€", "ß", "\u017f", "İ"),
    ("aaaaaaaaaa", "ab" * 9, "x = aaa", "def f(x):", "Donaudampfschifffahrt", "ΑΒΓ", "привет"),
    ("\ud800", "\udc00", "\ud83d", "\ude00", "\udfff\ud800"),
)
#: How often a piece is of each of these kinds; half surrogates are rare.
_WEIGHTS = (6, 2, 3, 6, 3, 2, 2, 2, 1, 2, 1, 2, 2, 1)
#: First and last code points that random characters come from; the last is all of Unicode.
_RANGES = ((0x20, 0x17F), (0x300, 0x2FFF), (0x3000, 0xD7FF), (0x1F000, 0x1FAFF), (0, 0x10FFFF))


@dataclass(frozen=True)
class Sample:
    """A string as the phone gets it, and as a tokenizer does.

    Attributes:
        raw: str, perhaps with half surrogate pairs, or bytes that are perhaps no UTF-8.
        text: proper Unicode, what `raw` becomes.
    """

    raw: str | bytes
    text: str


def samples(count: int, seed: int = 0) -> Iterator[Sample]:
    """Yield `count` strings; the first are empty and single characters."""
    chance = random.Random(seed)
    edges = [
        "",
        " ",
        "\n",
        "a",
        " a",
        "  a  ",
        "'",
        "\ud83d\ude00",
        *(" " * n for n in range(2, 9)),
    ]
    for index in range(count):
        raw = edges[index] if index < len(edges) else _string(chance)
        if index >= len(edges) and chance.random() < 0.1:
            data = _damaged(proper(raw).encode(), chance)
            yield Sample(data, data.decode("utf-8", "replace"))
        else:
            yield Sample(raw, proper(raw))


def proper(text: str) -> str:
    """Return `text` with surrogate pairs joined, and U+FFFD for each surrogate that is left."""
    joined = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _string(chance: random.Random) -> str:
    pieces = []
    for _ in range(chance.randint(1, 12)):
        if chance.random() < 0.12:
            first, last = chance.choice(_RANGES)
            pieces.append(chr(chance.randint(first, last)))
        else:
            pieces.append(chance.choice(chance.choices(_PIECES, _WEIGHTS)[0]))
        if chance.random() < 0.3:
            pieces.append(" ")
    return "".join(pieces)


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, left out or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            at = chance.randrange(len(changed))
            if chance.random() < 0.5:
                changed[at] = chance.randrange(256)
            else:
                del changed[at]
    return bytes(changed)
