"""One set of conversations in every form gives the same tokens, masks and pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_forms import TALKS, Talk, llava, messages, write_forms

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import iter_llava
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.data.token_cache import open_rows

PACKING = {"share_prefix": True, "questions_per_row": 8, "max_length": 512}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("pyarrow")
    return write_forms(tmp_path_factory.mktemp("forms"))


def seen(path: Path, base: Path, **more: Any) -> list[Any]:
    """Return everything that training sees of a data file."""
    rows = open_rows(path, None, MobileVLMProcessor.from_pretrained(base), **PACKING, **more)
    return [
        (
            row.prefix,
            [(segment.ids, segment.labels) for segment in row.segments],
            None if row.image is None else np.asarray(open_picture(row.image)).tolist(),
        )
        for row in rows
    ]


def test_the_same_conversations_in_every_form_give_the_same_rows(forms, tiny_base):
    expected = seen(forms["llava-json"], tiny_base)
    assert len(expected) == 4  # two conversations about one picture share a row
    for form, path in forms.items():
        found = seen(path, tiny_base)
        assert found == expected, form


def test_columns_name_what_nothing_recognizes(tmp_path, tiny_base, forms):
    folder = forms["llava-json"].parent
    talks = [talk for talk in TALKS if len(talk.rounds) == 1]
    flat = [
        {"q": t.rounds[0][0], "a": t.rounds[0][1], "pic": t.image or None, "sys": t.system}
        for t in talks
    ]
    file = folder / "flat.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in flat))
    same = folder / "same.json"
    same.write_text(json.dumps([llava(talk) for talk in talks]))
    columns = {"question": "q", "answer": "a", "image": "pic", "system": "sys"}
    assert seen(file, tiny_base, columns=columns) == seen(same, tiny_base)
    renamed = folder / "renamed.jsonl"
    renamed.write_text(
        "".join(
            json.dumps({"dialogue": r["messages"], "files": r["images"]}) + "\n"
            for r in map(messages, talks)
        )
    )
    columns = {"messages": "dialogue", "images": "files"}
    assert seen(renamed, tiny_base, columns=columns) == seen(same, tiny_base)
    with pytest.raises(DataError, match=r"flat\.jsonl, line 1.*conversations.*q, a, pic"):
        list(iter_llava(file))
    with pytest.raises(DataError, match=r"line 1.*`other`"):
        list(iter_llava(file, columns={"question": "other", "answer": "a"}))


def test_check_head_and_convert_read_every_form(forms, run_verb, tmp_path, tiny_base):
    expected = seen(forms["llava-json"], tiny_base)
    texts = None
    for form, path in forms.items():
        code, out, err = run_verb("data", "check", path, "--base", "tiny")
        assert code == 0, err
        assert out.splitlines()[-1].endswith(f"clean, {len(TALKS)} records"), form
        code, out, _ = run_verb("data", "head", path, "--base", "tiny", "--limit", 9, "--json")
        assert code == 0
        records = json.loads(out)["result"]["records"]
        found = [(r["text"], r["tokens"], r["learned"]) for r in records]
        texts = texts or found
        assert found == texts, form
        out_file = tmp_path / form / "made.json"
        code, _, err = run_verb("data", "convert", path, "--out", out_file)
        assert code == 0, err
        assert seen(out_file, tiny_base) == expected, form
    assert (tmp_path / "tar" / "made-images").is_dir()
    assert not (tmp_path / "messages" / "made-images").exists()


def test_head_shows_template_image_and_what_is_learned(forms, run_verb):
    code, out, _ = run_verb("data", "head", forms["messages"], "--base", "tiny", "--limit", 1)
    assert code == 0
    assert "messages, jsonl" in out
    assert "<image: " in out
    assert "[red" in out
    assert "Which color is it?" in out
    assert "learned" in out.splitlines()[-3]


def test_head_tells_of_images_as_check_does(run_verb, tmp_path):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat"}]
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = ("gone.png", "cut.png")
    records = [{"image": name, "conversations": turns} for name in names]
    (tmp_path / "d.json").write_text(json.dumps(records))
    code, out, _ = run_verb("data", "head", tmp_path / "d.json")
    assert code == 0
    assert out.count("refused") == 2
    assert "gone.png does not exist" in out
    assert "a cat" in out
    _, said, _ = run_verb("data", "check", tmp_path / "d.json")
    code, shown, _ = run_verb("data", "head", tmp_path / "d.json", "--json")
    for record, name in zip(json.loads(shown)["result"]["records"], names, strict=True):
        assert name in record["fault"]
        assert record["fault"] in said


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": 3}, "`messages`.*3"),
        ({"messages": [{"role": "tool", "content": "x"}] * 2}, "turn 0.*'tool'.*'user'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "last turn"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}]},
            "turn 0.*type, video",
        ),
        ({**messages(TALKS[0]), "images": ["a.png", "b.png"]}, "`images`.*2 images"),
        (
            messages(Talk("x", "http://host/a.png", "", (("What?", "x"),))),
            "http://host/a.png.*file",
        ),
        ({"messages": messages(TALKS[0])["messages"]}, "<image>"),
    ],
)
def test_a_wrong_record_of_another_dialect_is_named(tmp_path, record, message):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps(messages(TALKS[2])) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        list(iter_llava(file))
    assert f"{file}, line 2" in str(caught.value)


def test_several_images_are_counted_once_and_can_be_left_out(tmp_path, run_verb, tiny_base):
    file = tmp_path / "chats.jsonl"
    two = {**messages(TALKS[0]), "images": ["a.png", "b.png"]}
    file.write_text(json.dumps(messages(TALKS[2])) + "\n" + json.dumps(two) + "\n")
    code, out, _ = run_verb("data", "check", file, "--json")
    found = json.loads(out)["result"]
    assert code == 3
    assert sum(kind["count"] for kind in found["problems"].values()) == 1
    assert found["problems"]["several images"]["count"] == 1
    assert len(seen(file, tiny_base, bad_records="drop")) == 1


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_a_damaged_container_is_named(forms, tmp_path, form):
    whole = forms[form].read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("other", b"nothing of the kind")):
        file = tmp_path / f"{name}{forms[form].suffix}"
        file.write_bytes(content)
        with pytest.raises(DataError, match=file.name):
            list(iter_llava(file))


def test_images_cleared_from_the_cache_are_unpacked_again(forms, tiny_base):
    processor = MobileVLMProcessor.from_pretrained(tiny_base)
    rows = open_rows(forms["tar"], None, processor, **PACKING)
    for image in rows.images():
        image.unlink()
    rows = open_rows(forms["tar"], None, processor, **PACKING)
    assert all(image.is_file() for image in rows.images())


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(DataError, match=r"parquet.*tar"):
        list(iter_llava(tmp_path))
