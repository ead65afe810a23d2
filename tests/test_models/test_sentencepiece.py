from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.sentencepiece import tokenizer_from_sentencepiece

sentencepiece = pytest.importorskip("sentencepiece")

# Llama's own settings; spaces and repeats are over-represented, as they are what can go wrong.
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": True,
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "split_digits": True,
}
CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. USER: ASSISTANT:",
    "Is there a red car in the image? Answer the question using a single word or phrase.",
    "What is in the image? A. apple B. bridge C. cat D. dog",
    "def f(x):\n        return x  # indented",
    *(" " * width + "x = aaa" + " " * width for width in range(1, 9)),
    *("a" * n + " " + "ab" * n + " " + "aba" * n for n in range(1, 30)),
]
EDGES = [
    "",
    " ",
    "   ",
    "\n",
    "a",
    " a",
    "  a  ",
    "a\n\n b",
    "USER: What is it?\nAnswer briefly. ASSISTANT:",
    "日本語 and ünïcödé",
    "e\u0301 \u200b 😀👍🏽",
    "<0x41>",
    "\u2581",
    "\u2581\u2581a b",
    "tab\tand\r\nreturn",
]


def train(folder: Path, **changes: object) -> Path:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        **{
            "vocab_size": 400,
            "unk_id": 0,
            "bos_id": 1,
            "eos_id": 2,
            "pad_id": -1,
            "minloglevel": 2,
            "hard_vocab_limit": False,
            **LLAMA,
            **changes,
        },
    )
    path = folder / "tokenizer.model"
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("sentencepiece"))


@pytest.fixture(scope="module")
def theirs(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.fixture(scope="module")
def ours(path):
    return tokenizer_from_sentencepiece(path)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def decoded(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


def strings():
    chance = random.Random(0)
    parts = ["a", "b", "ab", "aba", " ", "  ", "\n", "é", "日本", "😀", "\u2581", "x", "12", "the "]
    for index in range(5000):
        # Few different parts make many overlapping merges.
        alphabet = chance.sample(parts, 3) if index % 2 else parts
        yield "".join(chance.choices(alphabet, k=chance.randint(1, 25)))


def test_ids_and_texts_are_sentencepieces_own_for_every_string(ours, theirs):
    texts = [*EDGES, *CORPUS, *strings()]
    assert not [text for text in texts if ids(ours, text) != theirs.encode(text)]
    encoded = [theirs.encode(text) for text in texts]
    assert not [each for each in encoded if decoded(ours, each) != theirs.decode(each)]


def test_vocabulary_is_in_sentencepieces_order(ours, theirs):
    assert ours.get_vocab_size() == theirs.get_piece_size()
    for index in range(theirs.get_piece_size()):
        assert ours.id_to_token(index) == theirs.id_to_piece(index)


def test_special_tokens_in_a_text_are_their_ids_and_part_it(ours, theirs):
    # As Llama's slow tokenizer: what stands around a special token is encoded by itself.
    expected = [1, *theirs.encode("a cat"), 2, *theirs.encode(" dog"), 0]
    assert ids(ours, "<s>a cat</s> dog<unk>") == expected
    assert ids(ours, "</s>") == [2]
    assert ours.decode([1, *theirs.encode("cat"), 2], skip_special_tokens=True) == "cat"


def test_what_is_added_afterwards_follows_the_vocabulary(path, theirs):
    tokenizer = tokenizer_from_sentencepiece(path)
    tokenizer.add_special_tokens(["<image>"])
    size = theirs.get_piece_size()
    assert tokenizer.token_to_id("<image>") == size
    assert ids(tokenizer, "a<image>\nb") == [*theirs.encode("a"), size, *theirs.encode("\nb")]


def test_the_tokenizer_survives_its_file(ours, tmp_path):
    ours.save(str(tmp_path / "tokenizer.json"))
    again = type(ours).from_file(str(tmp_path / "tokenizer.json"))
    for text in EDGES:
        assert ids(again, text) == ids(ours, text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "unigram"}, "not of type BPE"),
        ({"byte_fallback": False}, "no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalizes characters"),
        ({"add_dummy_prefix": False}, "puts no space before"),
        ({"remove_extra_whitespaces": True}, "removes extra spaces"),
        ({"treat_whitespace_as_suffix": True}, "puts spaces behind"),
        ({"user_defined_symbols": ["<x>"]}, "defined by a user"),
    ],
)
def test_models_of_another_kind_are_refused_with_the_reason(tmp_path, changes, reason):
    with pytest.raises(ArtifactError, match=reason):
        tokenizer_from_sentencepiece(train(tmp_path, **changes))


def test_files_that_are_no_models_are_refused(path, tmp_path):
    broken = tmp_path / "tokenizer.model"
    with pytest.raises(ArtifactError, match="is missing"):
        tokenizer_from_sentencepiece(broken)
    broken.write_text("version https://git-lfs.github.com/spec/v1\nsize 499723\n")
    with pytest.raises(ArtifactError, match="sentencepiece"):
        tokenizer_from_sentencepiece(broken)
    broken.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match="sentencepiece"):
        tokenizer_from_sentencepiece(broken)
    broken.write_bytes(b"")
    with pytest.raises(ArtifactError, match="no pieces"):
        tokenizer_from_sentencepiece(broken)
