"""A sentencepiece BPE model as a `tokenizers.Tokenizer` that gives the same ids.

Llama checkpoints carry a `tokenizer.model`; training, every runtime and the phone read one
`tokenizer.json`. Reads the few fields of the protocol buffer that matter, so that no sentencepiece
library is needed. Called when a checkpoint is imported; knows no template and no model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.varint import read_varint

_SPACE = "\u2581"
# Values of `ModelProto.SentencePiece.Type`.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
# Value of `TrainerSpec.ModelType`.
_BPE = 2

Value = int | bytes


@dataclass
class _Model:
    """What a sentencepiece file says, with the format's defaults."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    model_type: int = 1
    byte_fallback: bool = False
    character_map: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    treat_whitespace_as_suffix: bool = False


def tokenizer_from_sentencepiece(path: Path) -> Tokenizer:
    """Return a tokenizer with the ids of the sentencepiece model at `path`.

    A space is put before each string and between special tokens, and none is removed, as the
    model itself does. Control pieces (`<s>`, `</s>`) and `<unk>` are special tokens: written in a
    text they become their own id. Nothing is added to a text's ids.

    Raises:
        ArtifactError: the file is no sentencepiece model, or one whose ids this cannot give: not
            BPE, without byte fallback, or with a normalization of its own.
    """
    model = _read(path)
    _require_llama_style(model, path)
    ids = {piece: index for index, (piece, _, _) in enumerate(model.pieces)}
    if len(ids) != len(model.pieces):
        raise ArtifactError(f"{path}: a piece occurs twice, so ids would be ambiguous.")
    unknown = [piece for piece, _, kind in model.pieces if kind == _UNKNOWN]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=_merges(model),
            unk_token=unknown[0] if unknown else None,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = [piece for piece, _, kind in model.pieces if kind in (_UNKNOWN, _CONTROL)]
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in special]
    )
    return tokenizer


def _require_llama_style(model: _Model, path: Path) -> None:
    """Raise unless `tokenizers` computes the same ids with the steps used here."""
    kinds = {kind for _, _, kind in model.pieces}
    wrong = [
        text
        for holds, text in (
            (model.model_type != _BPE, "it is not of type BPE"),
            (not model.byte_fallback or _BYTE not in kinds, "it has no byte fallback"),
            (bool(model.character_map), "it normalizes characters"),
            (not model.add_dummy_prefix, "it puts no space before a text"),
            (model.remove_extra_whitespaces, "it removes extra spaces"),
            (not model.escape_whitespaces, "it keeps spaces as they are"),
            (model.treat_whitespace_as_suffix, "it puts spaces behind words"),
            (_USER_DEFINED in kinds, "it has pieces defined by a user"),
            (_UNUSED in kinds, "it has pieces marked as unused"),
        )
        if holds
    ]
    if wrong:
        raise ArtifactError(
            f"{path} is no sentencepiece model of Llama's kind: {', '.join(wrong)}.",
            "Use a folder whose tokenizer.json gives the ids, without tokenizer.model.",
        )


def _merges(model: _Model) -> list[tuple[str, str]]:
    """Return the merges in sentencepiece's order: the piece with the highest score first."""
    scores = {piece: score for piece, score, kind in model.pieces if kind == _NORMAL}
    merges = [
        (score, (piece[:cut], piece[cut:]))
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    # Stable: splits of one piece stay together, and which of them is first changes no ids.
    merges.sort(key=lambda merge: -merge[0])
    return [pair for _, pair in merges]


def _read(path: Path) -> _Model:
    model = _Model()
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1:
                piece = dict(_fields(_bytes(value)))
                score = struct.unpack("<f", _bytes(piece.get(2, b"\0\0\0\0")))[0]
                text = _bytes(piece[1]).decode("utf-8")
                model.pieces.append((text, score, int(piece.get(3, _NORMAL))))
            elif number == 2:
                trainer = dict(_fields(_bytes(value)))
                model.model_type = int(trainer.get(3, 1))
                model.byte_fallback = bool(trainer.get(35, False))
                model.treat_whitespace_as_suffix = bool(trainer.get(24, False))
            elif number == 3:
                normalizer = dict(_fields(_bytes(value)))
                model.character_map = _bytes(normalizer.get(2, b""))
                model.add_dummy_prefix = bool(normalizer.get(3, True))
                model.remove_extra_whitespaces = bool(normalizer.get(4, True))
                model.escape_whitespaces = bool(normalizer.get(5, True))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing: expected a sentencepiece model.") from None
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise ArtifactError(
            f"{path} is no readable sentencepiece model ({error}).",
            "It was cut short, or is a pointer to the file: download it again.",
        ) from error
    if not model.pieces:
        raise ArtifactError(f"{path} is no sentencepiece model: it has no pieces.")
    return model


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of a protocol buffer message.

    Numbers come as int, strings and messages as bytes, and so do the 4 or 8 bytes of a fixed-size
    number.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = read_varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(data):
            raise ValueError(f"field {number} is cut short")
        yield number, data[at : at + size]
        at += size


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"expected bytes, found the number {value}")
    return value
