import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.data.llava import read_llava
from hydra_mobile.examples.emojiqa import dataset as emojiqa
from hydra_mobile.examples.emojiqa.dataset import build_emojiqa
from hydra_mobile.examples.emojiqa.names import _GENERIC, all_things, confusable
from hydra_mobile.examples.emojiqa.openmoji import OpenMoji, plain_code

SMALL: dict[str, Any] = {"names": 64, "image_size": 48, "pictures_per_name": 2}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return build_emojiqa(tmp_path / "qa", test_questions=96, **SMALL)


def test_same_seed_same_bytes_and_another_seed_others(built: Path, tmp_path: Path) -> None:
    again = build_emojiqa(tmp_path / "again", test_questions=96, **SMALL)
    other = build_emojiqa(tmp_path / "other", test_questions=96, seed=1, **SMALL)
    assert tree(again) == tree(built)
    assert tree(other)["test_seen.jsonl"] != tree(built)["test_seen.jsonl"]


def test_second_call_draws_nothing(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    monkeypatch.delattr(emojiqa, "OpenMoji")  # needed only to draw
    assert build_emojiqa(built, test_questions=96, **SMALL) == built
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_other_parameters_or_a_damaged_file_build_it_again(built: Path) -> None:
    (built / "train_stage1.json").write_text("[")
    build_emojiqa(built, test_questions=96, **SMALL)
    assert read_llava(built / "train_stage1.json")
    build_emojiqa(built, test_questions=48, **SMALL)
    assert len(lines(built / "test_seen.jsonl")) == 48


def test_unseen_names_appear_nowhere_in_training(built: Path) -> None:
    unseen = {line["name"] for line in lines(built / "test_unseen.jsonl")}
    unseen |= {
        line["meta"]["asked"]
        for line in lines(built / "test_unseen.jsonl")
        if "asked" in line["meta"]
    }
    spoken = set()
    for record in read_llava(built / "train_stage2.json") + read_llava(built / "train_stage1.json"):
        question, answer = record.turns[0].question, record.turns[0].answer
        spoken |= {answer, answer.split(", ")[0]}
        spoken |= {line[3:] for line in question.splitlines() if line[1:2] == "."}
        if question.startswith("Is there a"):
            asked = question.split(" in the image?")[0].removeprefix("Is there a")
            spoken.add(asked.removeprefix("n").strip() if asked.startswith("n ") else asked.strip())
    assert not unseen & spoken
    seen = {line["name"] for line in lines(built / "test_seen.jsonl")}
    assert len(seen & spoken) == len(seen)


def test_test_pictures_are_never_training_pictures(built: Path) -> None:
    hashes = tree(built)
    train = {value for name, value in hashes.items() if name.startswith("images/train/")}
    test = {
        value for name, value in hashes.items() if name.startswith(("images/seen", "images/uns"))
    }
    assert train
    assert test
    assert not train & test


def test_every_record_has_its_picture_and_none_is_left_over(built: Path) -> None:
    used = {
        str(r.image.relative_to(built)) for r in read_llava(built / "train_stage2.json") if r.image
    }
    used |= {line["image"] for f in built.glob("test_*.jsonl") for line in lines(f)}
    assert used == {str(path.relative_to(built)) for path in (built / "images").rglob("*.png")}
    with Image.open(built / sorted(used)[0]) as picture:
        assert (picture.mode, picture.size) == ("RGB", (48, 48))


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_answers_are_balanced_and_keys_unique(built: Path, split: str) -> None:
    questions = lines(built / f"test_{split}.jsonl")
    assert len({q["question_id"] for q in questions}) == len(questions) == 96
    answers = Counter((q["category"], q["answer"]) for q in questions)
    assert answers["yesno", "yes"] == answers["yesno", "no"] == 20
    assert {answers["choice", letter] for letter in "ABCD"} == {8}
    classes = [count for (kind, _), count in answers.items() if kind == "class"]
    assert sum(classes) == 24
    assert max(classes) / 24 < 0.3
    training = Counter(r.turns[0].answer for r in read_llava(built / "train_stage2.json"))
    assert training["yes"] == training["no"]
    letters = [training[letter] for letter in "ABCD"]
    assert max(letters) - min(letters) <= 1


def test_the_quick_questions_ask_for_the_class_alone_and_give_nothing_away(tmp_path: Path) -> None:
    folder = build_emojiqa(tmp_path / "qa", test_questions=96, quick=True, **SMALL)
    questions = lines(folder / "test_seen.jsonl")
    assert Counter(q["category"] for q in questions) == {"class": 96}
    training = read_llava(folder / "train_stage2.json")
    assert len(training) > 16
    asked = {record.turns[0].question for record in training}
    assert asked == {questions[0]["text"]}
    captions = {r.turns[0].answer for r in read_llava(folder / "train_stage1.json")}
    assert all(f"{q['name']}, {q['class']}" in captions for q in questions)
    # Without a look at the pictures: the most frequent class, and the classes take turns.
    benchmark = EmojiQA(folder)
    samples = benchmark.samples(splits=["seen"])
    classes = Counter(s.reference for s in samples)
    blind = max(classes.values()) / 96
    assert blind < 0.3
    (score,) = [
        m
        for m in benchmark.metrics(samples, {s.key: s.reference for s in samples})
        if m.kind == "all"
    ]
    assert (score.value, score.majority) == (1.0, pytest.approx(blind))


def test_rotations_turn_one_question_round(built: Path) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for q in lines(built / "test_seen.jsonl"):
        if q["category"] == "choice":
            groups.setdefault(q["meta"]["group"], []).append(q)
    for group in groups.values():
        assert [q["answer"] for q in group] == list("ABCD")
        assert len({q["image"] for q in group}) == 1
        first = group[0]["meta"]["options"]
        for turn, q in enumerate(group):
            options = q["meta"]["options"]
            assert options == first[4 - turn :] + first[: 4 - turn]
            assert options["ABCD".index(q["answer"])] == q["name"]
            assert f"\n{q['answer']}. {q['name']}\n" in q["text"] + "\n"


@pytest.mark.slow
def test_options_do_not_betray_the_answer_by_class(tmp_path: Path) -> None:
    out = build_emojiqa(tmp_path / "qa", image_size=32, pictures_per_name=1)
    kinds = {thing.name: thing.kind for thing in all_things()}
    for q in lines(out / "test_unseen.jsonl"):
        if q["category"] == "choice":
            found = Counter(kinds[option] for option in q["meta"]["options"])
            assert sorted(found.values()) == [2, 2], q["meta"]["options"]


def test_no_questions_never_name_what_the_picture_may_show(built: Path) -> None:
    for q in lines(built / "test_seen.jsonl") + lines(built / "test_unseen.jsonl"):
        if q["answer"] == "no":
            assert not confusable(q["name"], q["meta"]["asked"])
        if q["category"] == "yesno":
            assert q["text"].endswith("image?\nAnswer the question using a single word or phrase.")


def test_another_artist_gives_a_split_of_seen_names(tmp_path: Path, art_folder: Path) -> None:
    out = build_emojiqa(
        tmp_path / "qa", test_questions=48, art_folders={"noto": art_folder}, **SMALL
    )
    redrawn = lines(out / "test_unseen_artist.jsonl")
    assert len(redrawn) == 48
    assert all("_noto_" in q["image"] for q in redrawn)
    spoken = {r.turns[0].answer for r in read_llava(out / "train_stage2.json")}
    assert {q["name"] for q in redrawn} <= spoken
    assert not list((out / "images" / "train").glob("*noto*"))
    assert "noto" in (out / "ATTRIBUTION.txt").read_text()


def test_an_art_folder_without_our_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)noto.* 0 of 32 "):
        build_emojiqa(tmp_path / "qa", art_folders={"noto": tmp_path / "empty"}, **SMALL)
    with pytest.raises(DataError, match="folder"):
        build_emojiqa(tmp_path / "qa", art_folders={"noto": tmp_path / "absent"}, **SMALL)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match=r"thesis\.txt"):
        build_emojiqa(tmp_path, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_broken_drawing_leaves_nothing_behind(tmp_path: Path, art_folder: Path) -> None:
    for path in art_folder.iterdir():
        path.write_text("<svg")
    with pytest.raises(DataError, match="drawn"):
        build_emojiqa(tmp_path / "qa", art_folders={"noto": art_folder}, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noto"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", 3),
        ("names", 10**6),
        ("test_questions", 50),
        ("image_size", 8),
        ("pictures_per_name", 0),
    ],
)
def test_parameters_out_of_range_are_refused(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(DataError, match=rf"{key}.*{value}"):
        build_emojiqa(tmp_path / "qa", **{**SMALL, key: value})


def test_the_table_is_sound() -> None:
    things = all_things()
    assert 900 <= len(things) <= 1000
    assert len({thing.name for thing in things}) == len({t.code for t in things}) == len(things)
    assert all(thing.name == thing.name.lower().strip() for thing in things)
    assert all(" " not in thing.kind for thing in things)
    kinds = Counter(thing.kind for thing in things if thing.kind)
    assert sum(kinds.values()) > len(things) / 2
    assert max(kinds.values()) / sum(kinds.values()) < 0.3
    named = {thing.name for thing in things}
    mentioned = set(_GENERIC) | {name for v in _GENERIC.values() for name in v.split(", ")}
    assert mentioned <= named


def test_code_points_are_found_in_every_spelling() -> None:
    assert plain_code("emoji_u1f43b_200d_2744") == plain_code("1F43B-200D-2744-FE0F")
    assert plain_code("1f436") == "1f436"
    assert plain_code("emoji_u00a9") == plain_code("a9") == "a9"


@pytest.mark.slow
def test_openmoji_draws_every_name_of_the_table() -> None:
    art = OpenMoji()
    assert {plain_code(thing.code) for thing in all_things()} <= art.codes()
    assert max(art.render("1f436", 64).size) == 64
