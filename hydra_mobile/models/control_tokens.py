"""Control tokens in people's text stay text: only a template's own marks end a turn.

A question that quotes `<|im_end|>` would otherwise end the turn that it is part of, and a literal
`<image>` would become a token that no program embeds. Text is marked where it enters
(`ControlTokens.as_text`), goes through the template as any other, and is tokenized with the marked
names as plain text (`ControlTokens.encode`).
"""

from __future__ import annotations

import json
import re

from tokenizers import Tokenizer

from hydra_mobile.core.json_text import dumps

#: Behind the first character of a control token's name that is meant as text: a noncharacter of
#: Unicode, which no text that is interchanged holds.
_MARK = "\ufdd0"


class ControlTokens:
    """The control tokens of a tokenizer.

    Args:
        tokenizer: whose added tokens that are special count.
        others: ids of tokens that count too: that of the picture.
    """

    def __init__(self, tokenizer: Tokenizer, others: tuple[int, ...] = ()) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._ids = {
            token.content: key
            for key, token in added.items()
            if token.content and (token.special or key in others)
        }
        # Longest first: a name may begin with another.
        names = sorted(self._ids, key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, names))) if names else None
        self._marked = {name[0] + _MARK + name[1:]: name for name in names}
        self._plain: Tokenizer | None = None

    def names_in(self, text: str) -> list[str]:
        """Return the control tokens that a text names, in order."""
        return self._names.findall(text) if self._names else []

    def as_text(self, text: str) -> str:
        """Return people's text with the names of control tokens marked as text."""
        if self._names is None:
            return text
        return self._names.sub(lambda found: found[0][0] + _MARK + found[0][1:], text)

    def is_marked(self, text: str) -> bool:
        """Say whether `text` has to go through `encode`."""
        return _MARK in text and any(mark in text for mark in self._marked)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a marked text, nothing added: its unmarked control tokens are real."""
        assert self._names is not None
        ids: list[int] = []
        position = 0
        for found in self._names.finditer(text):
            ids += self._as_plain(text[position : found.start()])
            ids.append(self._ids[found[0]])
            position = found.end()
        return ids + self._as_plain(text[position:])

    def _as_plain(self, text: str) -> list[int]:
        if not text:
            return []
        for mark, name in self._marked.items():
            text = text.replace(mark, name)
        if self._plain is None:
            stored = json.loads(self._tokenizer.to_str())
            for token in stored["added_tokens"]:
                # The picture's token may be an ordinary added one.
                token["special"] = token["special"] or token["content"] in self._ids
            self._plain = Tokenizer.from_str(dumps(stored))
            self._plain.encode_special_tokens = True
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids
