from pathlib import Path

import pytest
from benchmark_tree import PICTURES, emojiqa

from hydra_mobile.benchmarks.emojiqa import (
    EmojiQA,
    read_letter,
    read_word,
    same_word,
)
from hydra_mobile.benchmarks.pope.scores import read_yesno
from hydra_mobile.core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    emojiqa(tmp_path, PICTURES)
    return tmp_path


# From the description of POPE's official rule, corner cases included.
@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("yes", "yes"), ("Yes.", "yes"), ("no", "no"), ("No, there is not.", "no"),
        ("There is no dog", "no"), ("", "yes"), ("NO", "yes"), ("maybe", "yes"), ("n", "yes"),
        ("No\nbecause", "yes"), ("Yes. There is no cat.", "yes"), ("It is not", "no"),
        ("no.", "no"),
    ],
)  # fmt: skip
def test_yes_and_no_are_read_as_pope_does(answer: str, read: str) -> None:
    assert read_yesno(answer) == read


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("B", "B"), ("B.", "B"), ("(C)", "C"), ("D) tree", "D"), ("The answer is C.", "C"),
        ("A dog", "B"), ("Cat.", "A"), ("the bus", "C"), ("dog", "B"), ("E", ""), ("", ""),
        ("Because", ""), ("b", ""),
    ],
)  # fmt: skip
def test_letters_are_read_or_their_options(answer: str, read: str) -> None:
    assert read_letter(answer, ["cat", "dog", "bus", "tree"]) == read


def test_words_lose_case_article_punctuation_and_plural() -> None:
    assert read_word(" An Animal.\nIt is a dog.") == "animal"
    assert same_word("animals", "animal")
    assert same_word("bodies", "body")
    assert same_word("clothing", "clothing")
    assert not same_word("glass", "gla")
    assert not same_word("", "s-")
    assert not same_word("plant", "animal")


def test_right_answers_score_one_and_majority_is_the_best_constant(folder: Path) -> None:
    benchmark = EmojiQA(folder)
    samples = benchmark.samples()
    scores = benchmark.score(samples, {s.key: s.reference for s in samples})
    assert scores[0].name == "seen"
    assert {s.value for s in scores} == {1.0}
    table = {(s.name, s.kind): s for s in scores}
    seen = {kind: score for (name, kind), score in table.items() if name == "seen"}
    assert {kind: score.n for kind, score in seen.items()} == {
        "all": 48, "yesno": 24, "choice": 16, "class": 8, "yesno random": 8,
        "yesno popular": 8, "yesno adversarial": 8, "circular": 4,
    }  # fmt: skip
    assert seen["yesno"].majority == seen["yesno popular"].majority == 0.5
    assert seen["choice"].majority == 0.25
    assert seen["class"].majority == 0.75
    assert seen["all"].majority == pytest.approx((12 + 4 + 6) / 48)
    assert seen["circular"].majority == 0


def test_constant_answers_reach_the_majority_and_nothing_circular(folder: Path) -> None:
    benchmark = EmojiQA(folder)
    samples = benchmark.samples(splits=["unseen"])
    constant = {"yesno": "yes", "choice": "A", "class": "animal"}
    scores = benchmark.score(samples, {s.key: constant[s.kind] for s in samples})
    assert all(score.value == pytest.approx(score.majority) for score in scores)
    assert {score.name for score in scores} == {"unseen"}


def test_one_wrong_rotation_fails_its_circle_and_unreadable_is_counted(folder: Path) -> None:
    benchmark = EmojiQA(folder)
    samples = benchmark.samples(splits=["seen"])
    answers = {s.key: s.reference for s in samples}
    answers[next(s.key for s in samples if s.kind == "choice")] = "none of them"
    scores = {s.kind: s for s in benchmark.score(samples, answers)}
    assert scores["choice"].value == 15 / 16
    assert scores["circular"].value == 3 / 4
    assert (scores["choice"].unread, scores["all"].unread, scores["yesno"].unread) == (1, 1, 0)


def test_a_limit_keeps_the_mix_and_whole_groups(folder: Path) -> None:
    samples = EmojiQA(folder).samples(limit=24, splits=["seen"])
    kinds = [s.kind for s in samples]
    assert (kinds.count("yesno"), kinds.count("choice"), kinds.count("class")) == (12, 8, 4)
    assert sum(s.meta.get("rotation") == 3 for s in samples) == 2


def test_a_missing_and_an_altered_file_are_named(folder: Path) -> None:
    (folder / "test_seen.jsonl").write_text("")
    with pytest.raises(DataError, match=r"test_seen\.jsonl.*altered"):
        EmojiQA(folder).samples()
    (folder / "test_seen.jsonl").unlink()
    with pytest.raises(DataError, match=r"test_seen\.jsonl.*missing"):
        EmojiQA(folder).samples()
