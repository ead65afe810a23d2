"""A tokenizer of Llama's kind, trained in seconds: sentencepiece BPE with byte fallback."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

_CORPUS = (
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "USER: What is in the picture? ASSISTANT: A cat and a dog on a red car.",
    "USER: Is there a bridge? Answer with a single word. ASSISTANT: yes",
    "USER: How many plants are there?  ASSISTANT: there are 12, and 3 of them are green",
    "Le café est là où naïve façade über straße",
    "    for i in range(10):        print(i)",
)


@pytest.fixture(scope="session")
def sentencepiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.model` with Llama's settings: ids 0 <unk>, 1 <s>, 2 </s>, 3 to 258 bytes."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS * 5),
        model_writer=written,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    path.write_bytes(written.getvalue())
    return path
