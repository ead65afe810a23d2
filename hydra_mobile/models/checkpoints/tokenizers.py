"""The tokenizer of a checkpoint's folder, with the image token where the model expects it."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json
from hydra_mobile.core.progress import Log
from hydra_mobile.models.sentencepiece import tokenizer_from_sentencepiece

IMAGE_TOKEN = "<image>"
_MARK = "\u2581"


def folder_tokenizer(
    folder: Path, rows: int, log: Log, image_token_id: int | None = None
) -> tuple[Tokenizer, int]:
    """Return a checkpoint's tokenizer and the id of its image token.

    Args:
        folder: has `tokenizer.model`, which is preferred, or `tokenizer.json`.
        rows: of the embedding table.
        log: receives a line where `tokenizer.json` has to do.
        image_token_id: where the model expects the image token; None: the token's id where the
            tokenizer has it, else the first id behind the embedding table.

    Raises:
        ArtifactError: no tokenizer, one of another model, or one that does not begin a text as
            Llama's does.
    """
    tokenizer = _read(folder, rows, log)
    # Both would change ids that are asked for.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.token_to_id(IMAGE_TOKEN)
    wanted = image_token_id
    if wanted is None:
        wanted = rows if found is None else found
    if found not in (None, wanted):
        raise ArtifactError(
            f"{folder}: the tokenizer's {IMAGE_TOKEN} has id {found}, config.json says {wanted}."
        )
    size = tokenizer.get_vocab_size()
    if found is None:
        if size > wanted:
            raise ArtifactError(
                f"{folder}: the tokenizer has {size} tokens, but the id of the image token is "
                f"{wanted} and the embedding table has {rows} rows.",
                "The tokenizer belongs to another model, or has tokens that were never trained.",
            )
        # Rows without a token, as padded tables have, get one: ids are given out in order.
        tokenizer.add_special_tokens([f"<unused_{index}>" for index in range(size, wanted)])
        tokenizer.add_special_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)])
    if tokenizer.token_to_id(IMAGE_TOKEN) != wanted:
        raise ArtifactError(
            f"{folder}: the image token got id {tokenizer.token_to_id(IMAGE_TOKEN)}, expected "
            f"{wanted}: the tokenizer's ids have gaps."
        )
    return tokenizer, wanted


def _read(folder: Path, rows: int, log: Log) -> Tokenizer:
    sentencepiece, fast = folder / "tokenizer.model", folder / "tokenizer.json"
    if sentencepiece.is_file():
        try:
            tokenizer = tokenizer_from_sentencepiece(sentencepiece)
            return _with_added_tokens(tokenizer, folder, rows, log)
        except ArtifactError as error:
            if not fast.is_file():
                raise
            log(f"{error.what} Reading {fast.name} instead")
    if not fast.is_file():
        raise ArtifactError(
            f"{folder} has no tokenizer: expected tokenizer.model or tokenizer.json."
        )
    try:
        tokenizer = Tokenizer.from_file(str(fast))
        stored = json.loads(fast.read_text(encoding="utf-8"))["model"]
    except Exception as error:  # tokenizers raises plain Exception for every parse error
        raise ArtifactError(f"{fast} is no readable tokenizer: {error}.") from error
    if stored.get("byte_fallback"):
        _require_mark(tokenizer, fast)
    return tokenizer


def _with_added_tokens(tokenizer: Tokenizer, folder: Path, rows: int, log: Log) -> Tokenizer:
    """Add what `added_tokens.json` lists behind the sentencepiece model."""
    file = folder / "added_tokens.json"
    if not file.is_file():
        return tokenizer
    added = read_foreign_json(file, "tokens added to a vocabulary")
    with reading(file, "tokens added to a vocabulary, with their numbers"):
        numbered = sorted(added.items(), key=lambda item: int(item[1]))
    for token, index in numbered:
        if index >= rows and token != IMAGE_TOKEN:
            # Vicuna's <pad>, for example: the model has never seen it.
            log(f"{file.name}: `{token}` (id {index}) has no row in the embedding table: left out")
            continue
        if tokenizer.token_to_id(token) is None:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        if tokenizer.token_to_id(token) != index:
            raise ArtifactError(
                f"{file}: `{token}` should have id {index}, but the tokenizer gives it "
                f"{tokenizer.token_to_id(token)}."
            )
    return tokenizer


def _require_mark(tokenizer: Tokenizer, file: Path) -> None:
    """Raise unless a text begins with the mark of a space, as in Llama's own tokenizer."""
    ids = tokenizer.encode("a", add_special_tokens=False).ids
    first = tokenizer.id_to_token(ids[0]) if ids else ""
    if first is None or not first.startswith(_MARK):
        raise ArtifactError(
            f"{file}: the text 'a' begins with token {first!r}, expected one that begins with "
            f"{_MARK!r}: a checkpoint's sentencepiece model puts a space before each text.",
            "Copy the checkpoint's tokenizer.model into the folder.",
        )
