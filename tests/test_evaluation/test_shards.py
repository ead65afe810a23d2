from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from hydra_mobile.api.evaluate import merge_shards
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.question import (
    Question,
    picture_groups,
    read_questions,
    write_questions,
)
from hydra_mobile.core.errors import ConfigError, DataError, HydraError
from hydra_mobile.evaluation import evaluate as module
from hydra_mobile.evaluation.evaluate import EvalSettings, evaluate
from hydra_mobile.evaluation.store import torchrun as group
from hydra_mobile.evaluation.store.merge_shards import merge_all
from hydra_mobile.evaluation.store.prediction_log import read_answers
from hydra_mobile.evaluation.store.shards import Shard
from hydra_mobile.runtimes.model_ref import model_at


def question(index: int, picture: str | None) -> Question:
    image = FilePicture(Path(picture)) if picture else None
    return Question(index, str(index), "?", image)


def test_shards_are_disjoint_complete_and_keep_pictures_together() -> None:
    pictures = ["a", "b", "a", None, "c", "b", None, "d", "e"]
    questions = [question(n, picture) for n, picture in enumerate(pictures)]
    shards = [Shard(number, 3).of(questions) for number in (1, 2, 3)]
    indices = sorted(each.index for shard in shards for each in shard)
    assert indices == list(range(len(pictures)))
    for picture in "abcde":
        holders = [s for s in shards if any(q.image and q.image.key == picture for q in s)]
        assert len(holders) == 1
    assert max(map(len, shards)) - min(map(len, shards)) <= 2


def test_questions_without_a_picture_are_groups_of_their_own() -> None:
    groups = picture_groups([question(0, None), question(1, None)])
    assert [len(group) for group in groups] == [1, 1]


def test_questions_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    questions = [
        question(0, str(tmp_path / "a.png")),
        question(1, None),
        Question(2, "x\u2028y", "Ä?\n", FilePicture(tmp_path / "ü b.png")),
    ]
    write_questions(tmp_path / "questions.jsonl", questions)
    assert list(read_questions(tmp_path / "questions.jsonl")) == questions


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", ""])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        Shard.parse(text)


def test_torchrun_makes_the_shard() -> None:
    assert Shard.of_process({"RANK": "1", "WORLD_SIZE": "4"}) == Shard(2, 4)
    assert Shard.of_process({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert Shard.of_process({}) is None
    with pytest.raises(ConfigError, match=r"RANK='4'.*WORLD_SIZE='4'"):
        Shard.of_process({"RANK": "4", "WORLD_SIZE": "4"})


# -- merging ----------------------------------------------------------------------------------


@pytest.fixture
def shards(in_process, questions: Path, tmp_path: Path) -> list[Path]:
    """Two shards as two machines would leave them."""
    folders = []
    for number in (1, 2):
        task = EvalSettings(("emojiqa",), questions, shard=Shard(number, 2))
        folders.append(tmp_path / f"machine{number}")
        assert evaluate([model_at("tiny")], task, folders[-1]) is None
    return folders


def answers_in(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    (file,) = folder.glob("answers/*/*/answers.jsonl")
    return [(answer.key, answer.ids) for answer in read_answers(file)]


def test_merged_shards_are_what_one_process_answers(in_process, shards, questions, tmp_path):
    evaluate([model_at("tiny")], EvalSettings(("emojiqa",), questions), tmp_path / "one")
    (merged,) = merge_all(shards, tmp_path / "all")
    assert (merged.answers, merged.questions) == (24, 24)
    assert answers_in(tmp_path / "all") == answers_in(tmp_path / "one")
    logits = [sorted(f.name for f in (tmp_path / n).rglob("*.npy")) for n in ("one", "all")]
    assert logits[0] == logits[1]


def test_evaluate_goes_on_where_the_merge_left_it(
    in_process, shards, questions, tmp_path, monkeypatch
):
    merge_all(shards, tmp_path / "all")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("all/**/answers.jsonl")}
    outcome = evaluate([model_at("tiny")], EvalSettings(("emojiqa",), questions), tmp_path / "all")
    assert outcome is not None
    assert {f: f.stat().st_mtime_ns for f in tmp_path.glob("all/**/answers.jsonl")} == before
    (asked,) = outcome.systems[0].runs
    assert asked.complete
    assert asked.peak_memory_bytes
    assert "padding" in asked.facts


def test_a_missing_shard_is_named(shards, tmp_path):
    with pytest.raises(DataError, match=r"2/2.*missing"):
        merge_all(shards[:1], tmp_path / "all")
    (merged,) = merge_all(shards[:1], tmp_path / "all", allow_partial=True)
    assert 0 < merged.answers < merged.questions


def test_an_unfinished_shard_is_named(shards, tmp_path):
    (file,) = shards[1].rglob("answers.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-2]))
    with pytest.raises(DataError, match=rf"2/2.*{len(lines) - 2} of {len(lines)}"):
        merge_all(shards, tmp_path / "all")


def test_overlapping_shards_are_refused(shards, tmp_path):
    first, second = (next(folder.rglob("answers.jsonl")) for folder in shards)
    second.write_text(second.read_text() + first.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"1/2.*2/2"):
        merge_all(shards, tmp_path / "all", allow_partial=True)


def test_the_same_shard_twice_is_refused(shards, tmp_path):
    shutil.copytree(shards[0], tmp_path / "copy")
    with pytest.raises(DataError, match=r"1/2.*twice"):
        merge_all([*shards, tmp_path / "copy"], tmp_path / "all")


@pytest.mark.parametrize(
    ("key", "value"), [("protocol", "mobilevlm"), ("asked", "0" * 64), ("protocol_facts", {})]
)
def test_shards_of_different_protocols_or_questions_are_refused(shards, tmp_path, key, value):
    file = next(f for f in shards[1].rglob("request.json") if "identity" in f.read_text())
    request = json.loads(file.read_text())
    request["identity"][key] = value
    file.write_text(json.dumps(request))
    with pytest.raises(DataError, match=f"differ.*{key}"):
        merge_all(shards, tmp_path / "all", allow_partial=True)


def test_shards_of_different_artifacts_are_refused(shards, tmp_path):
    file = next(f for f in shards[1].rglob("request.json") if "identity" in f.read_text())
    request = json.loads(file.read_text())
    request["artefact"]["identity"] = "another"
    file.write_text(json.dumps(request))
    with pytest.raises(DataError, match=r"differ.*artifact"):
        merge_all(shards, tmp_path / "all")


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"answers.*shard"):
        merge_all([tmp_path], tmp_path / "all")


def test_an_empty_folder_of_answers_was_begun_by_an_evaluation(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "out" / "answers").mkdir(parents=True)
    with pytest.raises(DataError, match="shards"):
        merge_shards([tmp_path / "shards"], tmp_path / "out")
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(HydraError, match=r"out.*not replaced"):
        merge_shards([tmp_path / "shards"], tmp_path / "out")


# -- torchrun ---------------------------------------------------------------------------------


def test_the_first_process_of_a_group_waits_for_the_others_and_reports(
    in_process, questions, tmp_path
):
    task = EvalSettings(("emojiqa",), questions, shard=Shard(2, 2), grouped=True)
    assert evaluate([model_at("tiny")], task, tmp_path / "group") is None
    first = dataclasses.replace(task, shard=Shard(1, 2))
    outcome = evaluate([model_at("tiny")], first, tmp_path / "group")
    assert outcome is not None
    assert outcome.systems[0].runs[0].answered == 24
    evaluate([model_at("tiny")], EvalSettings(("emojiqa",), questions), tmp_path / "one")
    assert answers_in_whole(tmp_path / "group") == answers_in(tmp_path / "one")


def answers_in_whole(folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    (file,) = folder.glob("answers/*/emojiqa-*/answers.jsonl")
    return [(answer.key, answer.ids) for answer in read_answers(file)]


def test_a_process_that_never_answers_is_named(in_process, questions, tmp_path, monkeypatch):
    monkeypatch.setattr(group, "_TIMEOUT_SECONDS", -1.0)
    task = EvalSettings(("emojiqa",), questions, shard=Shard(1, 2), grouped=True)
    with pytest.raises(module.HydraError, match=r"2/2.*answer"):
        evaluate([model_at("tiny")], task, tmp_path)
