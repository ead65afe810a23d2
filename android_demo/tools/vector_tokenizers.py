"""The tokenizers that the app must agree with: of our bases, and one of each other kind it reads.

Those that no base has are trained here, on a few lines, in a second.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from hydra_mobile.core.json_text import dumps
from hydra_mobile.models.registry import base_folder

_MARK = "\u2581"
_CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant. USER: ASSISTANT:",
    "Is there a red car in the image? Answer the question using a single word or phrase.",
    "What is in the image? A. apple B. bridge C. cat D. dog 12 123 2024 it's don't we'll",
    "def f(x):\n        return x  # indented\n\n\n    x = aaaa aaa aa",
    "日本語の文字 中文字 한국어 привет ñ é ü 😀 👍 שלום مرحبا",
    *("a" * n + " " + "ab" * n + " " * n for n in range(1, 12)),
)
#: How the files of Qwen, InternVL, FastVLM (numbers: "\\p{N}") and LFM2 ("\\p{N}{1,3}") cut words.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def base_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer of a base, for example "tiny"."""
    return Tokenizer.from_file(str(base_folder(name) / "tokenizer.json"))


def llama() -> Tokenizer:
    """Return a tokenizer as `tokenizer_from_sentencepiece` makes it, with an image token."""
    tokenizer = _trained(with_bytes=True)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_MARK), normalizers.Replace(" ", _MARK)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_MARK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("<image>", normalized=False, special=True)])
    return tokenizer


def metaspace() -> Tokenizer:
    """Return a tokenizer as newer checkpoints have them: Metaspace, BOS by the post-processor.

    One token is found in normalized text, and is not special.
    """
    tokenizer = _trained(with_bytes=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_MARK, prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(_MARK, prepend_scheme="first")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_tokens([AddedToken("red car", normalized=True, special=False)])
    return tokenizer


def digits() -> Tokenizer:
    """Return a byte-level tokenizer that takes digits one by one, as SmolLM2's own file does."""
    return _byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    )


def prefixed() -> Tokenizer:
    """Return a byte-level tokenizer that puts a space before a text; numbers stay whole."""
    return _byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=False),
                pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
            ]
        )
    )


def unknown() -> Tokenizer:
    """Return a tokenizer without bytes: what it does not know is one `<unk>` after the other."""
    tokenizer = _trained(with_bytes=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_MARK, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(_MARK, prepend_scheme="always")
    return tokenizer


def fused() -> Tokenizer:
    """Return a tokenizer without bytes: what it does not know, in a row, is one `<unk>`."""
    value = json.loads(unknown().to_str())
    value["model"]["fuse_unk"] = True
    return Tokenizer.from_str(dumps(value))


def composed() -> Tokenizer:
    """Return a tokenizer as Qwen's and InternVL's files have it: NFC, and words by an expression.

    One token, with its marks in the wrong order, is found in normalized text.
    """
    tokenizer = _byte_level(_by_words(WORDS.format(numbers=r"\p{N}"), "isolated"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("Z\u0301\u0323", normalized=True, special=False)])
    return tokenizer


def triples() -> Tokenizer:
    """Return a tokenizer as LFM2's file has it: numbers by threes, whole words without merges."""
    tokenizer = _byte_level(_by_words(WORDS.format(numbers=r"\p{N}{1,3}"), "removed", invert=True))
    value = json.loads(tokenizer.to_str())
    value["model"]["ignore_merges"] = True
    return Tokenizer.from_str(dumps(value))


def spaces() -> Tokenizer:
    """Return a tokenizer with Gemma's `Split`: a space ends the word before it."""
    tokenizer = _trained(with_bytes=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> Path:
    """Write `tokenizer.json` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def _byte_level(steps: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = steps
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def _by_words(expression: str, behavior: str, *, invert: bool = False) -> pre_tokenizers.Sequence:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), behavior, invert),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _trained(*, with_bytes: bool) -> Tokenizer:
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(
        models.BPE(byte_fallback=with_bytes, unk_token="<unk>", fuse_unk=with_bytes)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_MARK, prepend_scheme="first", split=False)
    written = [f"<0x{byte:02X}>" for byte in range(256)] if with_bytes else []
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(vocab_size=700, special_tokens=special + written, show_progress=False),
    )
    if not with_bytes:
        return tokenizer
    # As in Llama's file: the bytes are tokens of the model, which a text cannot spell out.
    stored = _without_added(tokenizer, set(written))
    stored.pre_tokenizer = None
    return stored


def _without_added(tokenizer: Tokenizer, names: set[str]) -> Tokenizer:
    value = json.loads(tokenizer.to_str())
    value["added_tokens"] = [
        token for token in value["added_tokens"] if token["content"] not in names
    ]
    value["pre_tokenizer"] = None
    return Tokenizer.from_str(dumps(value))
