import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.benchmarks.emojiqa import (
    EmojiQA,
    read_letter,
    read_word,
    same_word,
)
from hydra_mobile.benchmarks.pope.scores import read_yesno
from hydra_mobile.core.errors import DataError
from hydra_mobile.core.registry import resolve


def question(
    split: str, number: int, kind: str, name: str, answer: str, **meta: Any
) -> dict[str, Any]:
    return {
        "question_id": f"{split}-{number}",
        "image": f"images/{name}.png",
        "text": "?",
        "category": kind,
        "answer": answer,
        "name": name,
        "class": "animal",
        "meta": meta,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {}
    for split in ("unseen", "seen"):
        lines = []
        for number in range(0, 24, 2):
            how = ("random", "popular", "adversarial")[number // 2 % 3]
            for offset, answer in enumerate(("yes", "no")):
                lines.append(
                    question(split, number + offset, "yesno", f"y{number}", answer, pair=how)
                )
        for number in range(24, 40, 4):
            for turn in range(4):
                options = ["dog", "cat", "bus", "tree"][4 - turn :] + ["dog", "cat", "bus", "tree"][
                    : 4 - turn
                ]
                lines.append(
                    question(
                        split,
                        number + turn,
                        "choice",
                        f"c{number}",
                        "ABCD"[turn],
                        options=options,
                        rotation=turn,
                        group=f"g{number}",
                    )
                )
        lines += [
            question(split, 40 + i, "class", f"k{i}", ("animal", "food")[i % 4 == 0])
            for i in range(8)
        ]
        path = tmp_path / f"test_{split}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        files[path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "emojiqa.json").write_text(json.dumps({"files": files}))
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


def test_an_incomplete_or_foreign_run_is_refused(folder: Path) -> None:
    benchmark = EmojiQA(folder)
    samples = benchmark.samples()
    answers = {s.key: "yes" for s in samples[1:]} | {"stray": "no"}
    with pytest.raises(DataError, match=r"1 without an answer \(seen-0\); 1 answered but unknown"):
        benchmark.score(samples, answers)


def test_a_limit_keeps_the_mix_and_whole_groups(folder: Path) -> None:
    samples = EmojiQA(folder).samples(limit=24, splits=["seen"])
    kinds = [s.kind for s in samples]
    assert (kinds.count("yesno"), kinds.count("choice"), kinds.count("class")) == (12, 8, 4)
    assert sum(s.meta.get("rotation") == 3 for s in samples) == 2


def test_missing_altered_and_unknown_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split `sene`.*\n.*Did you mean `seen`"):
        EmojiQA(folder).samples(splits=["sene"])
    with pytest.raises(DataError, match="nowhere does not exist"):
        EmojiQA(folder / "nowhere").samples()
    (folder / "test_seen.jsonl").write_text("")
    with pytest.raises(DataError, match=r"test_seen\.jsonl was altered"):
        EmojiQA(folder).samples()
    (folder / "test_seen.jsonl").unlink()
    with pytest.raises(DataError, match=r"test_seen\.jsonl is missing"):
        EmojiQA(folder).samples()


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_registered_benchmark_resolves(name: str) -> None:
    benchmark = resolve("benchmark", name, BENCHMARKS)
    assert issubclass(benchmark, Benchmark)
    assert benchmark.name == name
