"""A sentencepiece BPE model as a `tokenizers.Tokenizer` that gives the same ids.

Llama checkpoints carry a `tokenizer.model`; training, every runtime and the phone read one
`tokenizer.json`. The file's format is the definition that transformers ships, so that no
sentencepiece library is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers.convert_slow_tokenizer import import_protobuf

from hydra_mobile.core.errors import ArtifactError

_SPACE = "\u2581"
# A process can hold one definition of the format: take the one that transformers will take.
sentencepiece: Any = import_protobuf()
_Piece: Any = sentencepiece.ModelProto.SentencePiece


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
    ids = {piece.piece: index for index, piece in enumerate(model.pieces)}
    if len(ids) != len(model.pieces):
        raise ArtifactError(f"{path}: a piece occurs twice, so ids would be ambiguous.")
    unknown = [piece.piece for piece in model.pieces if piece.type == _Piece.UNKNOWN]
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
    special = [p.piece for p in model.pieces if p.type in (_Piece.UNKNOWN, _Piece.CONTROL)]
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in special]
    )
    return tokenizer


def _require_llama_style(model: Any, path: Path) -> None:
    """Raise unless `tokenizers` computes the same ids with the steps used here."""
    kinds = {piece.type for piece in model.pieces}
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    wrong = [
        text
        for holds, text in (
            (trainer.model_type != sentencepiece.TrainerSpec.BPE, "it is not of type BPE"),
            (not trainer.byte_fallback or _Piece.BYTE not in kinds, "it has no byte fallback"),
            (bool(normalizer.precompiled_charsmap), "it normalizes characters"),
            (not normalizer.add_dummy_prefix, "it puts no space before a text"),
            (normalizer.remove_extra_whitespaces, "it removes extra spaces"),
            (not normalizer.escape_whitespaces, "it keeps spaces as they are"),
            (trainer.treat_whitespace_as_suffix, "it puts spaces behind words"),
            (_Piece.USER_DEFINED in kinds, "it has pieces defined by a user"),
            (_Piece.UNUSED in kinds, "it has pieces marked as unused"),
        )
        if holds
    ]
    if wrong:
        raise ArtifactError(
            f"{path} is no sentencepiece model of Llama's kind: {', '.join(wrong)}.",
            "Use a folder whose tokenizer.json gives the ids, without tokenizer.model.",
        )


def _merges(model: Any) -> list[tuple[str, str]]:
    """Return the merges in sentencepiece's order: the piece with the highest score first."""
    scores = {p.piece: p.score for p in model.pieces if p.type == _Piece.NORMAL}
    merges = [
        (score, (piece[:cut], piece[cut:]))
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    # Stable: splits of one piece stay together, and which of them is first changes no ids.
    merges.sort(key=lambda merge: -merge[0])
    return [pair for _, pair in merges]


def _read(path: Path) -> Any:
    model = sentencepiece.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing: expected a sentencepiece model.") from None
    except DecodeError as error:
        raise ArtifactError(
            f"{path} is no readable sentencepiece model ({error}).",
            "It was cut short, or is a pointer to the file: download it again.",
        ) from error
    if not model.pieces:
        raise ArtifactError(f"{path} is no sentencepiece model: it has no pieces.")
    return model
