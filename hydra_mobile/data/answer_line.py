"""One answer as a line of JSON: the type for everything that writes or reads one.

Two files hold such lines. `answers.jsonl` of an evaluation has the keys of `AnswerLine.to_dict`.
The answers file of a device batch, which the C++ runner and the app write (`native/README.md`), has
`id` in place of `key`, no index and no time around the runtime, and in their place what timing
needs: seconds and tokens of prefill and decoding. Lines of earlier versions lack `ended`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from hydra_mobile.core.errors import DataError

#: Why generation ended: at a stop token, at the limit of new tokens, or with a full context.
Ended = Literal["stop", "length", "context"]

_STORED = ("index", "key", "text", "ids", "margin", "encode_seconds", "first_token_seconds")
_TIMES = ("seconds", "runner_seconds")
_DEVICE = ("prefill_seconds", "prefill_tokens", "decode_seconds", "decode_steps")


#: How earlier versions of the app spelled `Ended`.
_APP_ENDED = {"stop_token": "stop", "most_tokens": "length", "context_full": "context"}


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One question's answer and what it took; times in seconds.

    Attributes:
        key: names the question.
        ids: generated token ids, the stop token left out.
        margin: lead of the first token's logit over the second best.
        encode_seconds: of the vision encoder; None when the image prefix was in the cache.
        first_token_seconds: from the image to the first token; None as above.
        text: the answer; empty on a device without a tokenizer.
        index: the question's place in its benchmark; -1 where it is not known.
        seconds: wall time since the answer before.
        runner_seconds: of it inside the runtime.
        ended: why generation ended; None where it was not recorded.
        prefill_seconds: of the decoder over the prompt.
        prefill_tokens: tokens in that prefill.
        decode_seconds: of all later tokens.
        decode_steps: decoder calls in `decode_seconds`.
        peak_memory_bytes: of the process so far; None where it was not measured.
    """

    key: str
    ids: tuple[int, ...]
    margin: float
    encode_seconds: float | None = None
    first_token_seconds: float | None = None
    text: str = ""
    index: int = -1
    seconds: float = 0.0
    runner_seconds: float = 0.0
    ended: Ended | None = None
    prefill_seconds: float = 0.0
    prefill_tokens: int = 0
    decode_seconds: float = 0.0
    decode_steps: int = 0
    peak_memory_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the line of `answers.jsonl` as JSON values."""
        line = {name: getattr(self, name) for name in (*_STORED, *_TIMES)}
        line |= {"ids": list(self.ids), "margin": round(self.margin, 4)}
        for name in ("encode_seconds", "first_token_seconds", *_TIMES):
            line[name] = None if line[name] is None else round(line[name], 6)
        return line | ({"ended": self.ended} if self.ended else {})

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> AnswerLine:
        """Read a line of `answers.jsonl`.

        Raises:
            DataError: a key is missing; names it.
        """
        _require(line, (*_STORED, *_TIMES))
        fields: dict[str, Any] = {name: line[name] for name in (*_STORED, *_TIMES)}
        return cls(**fields | {"ids": tuple(line["ids"]), "ended": _ended(line)})

    @classmethod
    def from_device(cls, line: Mapping[str, Any]) -> AnswerLine:
        """Read a line that the C++ runner or the app wrote.

        Raises:
            DataError: a key is missing, or the logits were not finite; names it.
        """
        times = ("encode_seconds", "first_token_seconds", *_DEVICE)
        _require(line, ("id", "ids", "margin", *times))
        if not math.isfinite(line["margin"]):
            raise DataError(
                f"The answer to `{line['id']}` has a margin of {line['margin']}: its logits are "
                "not finite, so the answer means nothing.",
                "A weight is too large for the preset: export with another, such as fp32.",
            )
        inside = line["prefill_seconds"] + line["decode_seconds"] + (line["encode_seconds"] or 0.0)
        return cls(
            key=line["id"],
            ids=tuple(line["ids"]),
            margin=line["margin"],
            text=line.get("text", ""),
            seconds=inside,
            runner_seconds=inside,
            ended=_ended(line),
            peak_memory_bytes=line.get("peak_memory_bytes"),
            **{name: line[name] for name in times},
        )

    def untimed(self) -> AnswerLine:
        """Return the line without the times that a report shows: an emulator's mean nothing."""
        return dataclasses.replace(self, encode_seconds=None, first_token_seconds=None)


def _require(line: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in line]
    if missing:
        raise DataError(
            f"An answer line lacks the key `{missing[0]}`; it has {', '.join(line) or 'none'}.",
            "Answer the question again: remove the file that holds the line.",
        )


def _ended(line: Mapping[str, Any]) -> Ended | None:
    found = line.get("ended")
    found = _APP_ENDED.get(str(found), found)
    return cast("Ended", found) if found in get_args(Ended) else None
