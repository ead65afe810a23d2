"""One set of conversations in every form gives the same tokens, masks and pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_forms import PLACED, TALKS, Talk, llava, messages, write_forms

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import iter_llava, read_llava
from hydra_mobile.models.loading import load_processor
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.training.data.token_cache import open_rows

PACKING = {"share_prefix": True, "questions_per_row": 8, "max_length": 512}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("pyarrow")
    return write_forms(tmp_path_factory.mktemp("forms"), PLACED)


@pytest.fixture
def base(smolvlm_base: Path) -> Path:
    """A base whose own template takes several images."""
    return smolvlm_base


def seen(path: Path, base: Path, images: Path | None = None, **more: Any) -> list[Any]:
    """Return everything that training sees of a data file."""
    rows = open_rows(path, images, load_processor(base), **PACKING, **more)
    return [
        (
            row.prefix,
            [(segment.ids, segment.labels) for segment in row.segments],
            [np.asarray(open_picture(image)).tolist() for image in row.images],
        )
        for row in rows
    ]


def test_the_same_conversations_in_every_form_give_the_same_rows(forms, base):
    expected = seen(forms["llava-json"], base)
    # Two conversations about one picture share a row.
    assert [len(images) for _, _, images in expected] == [0, 0, 3, 3, 1, 2, 1, 1]
    for form, path in forms.items():
        found = seen(path, base)
        assert found == expected, form


def test_a_base_of_one_image_leaves_others_out_in_every_form(forms, tiny_base, tmp_path):
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps([llava(talk) for talk in TALKS]))
    expected = seen(plain, tiny_base, images=forms["llava-json"].parent)
    for form, path in forms.items():
        with pytest.raises(DataError, match=r"Record 5 \(id 'f'\).*3 images.*chatml"):
            seen(path, tiny_base)
        assert seen(path, tiny_base, bad_records="drop") == expected, form


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


def test_check_head_and_convert_read_every_form(forms, run_verb, tmp_path, base):
    expected = seen(forms["llava-json"], base)
    texts = None
    for form, path in forms.items():
        code, out, err = run_verb("data", "check", path, "--base", base)
        assert code == 0, err
        assert out.splitlines()[-1].endswith(f"clean, {len(PLACED)} records"), form
        assert "up to 3 a record" in out
        code, out, _ = run_verb("data", "head", path, "--base", base, "--limit", 9, "--json")
        assert code == 0
        records = json.loads(out)["result"]["records"]
        assert [len(r["images"]) for r in records] == [len(talk.images) for talk in PLACED]
        found = [(r["text"], r["tokens"], r["learned"]) for r in records]
        texts = texts or found
        assert found == texts, form
        out_file = tmp_path / form / "made.json"
        code, _, err = run_verb("data", "convert", path, "--out", out_file)
        assert code == 0, err
        assert seen(out_file, base) == expected, form
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
        ({**messages(TALKS[0]), "images": ["a.png", "b.png"]}, "1 <image> mark.*2 images"),
        ({**messages(PLACED[5]), "images": ["a.png"]}, r"3 <image> marks.*\[0, 2\].*one image"),
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


def test_check_counts_what_a_base_of_one_image_refuses(forms, run_verb):
    code, out, _ = run_verb("data", "check", forms["messages"], "--base", "tiny", "--json")
    found = json.loads(out)["result"]
    assert code == 3
    problems = {kind: n["count"] for kind, n in found["problems"].items() if n["count"]}
    assert problems == {"several images": 3, "refused by the template": 1}
    assert found["most_images"] == 3
    # Without a base nothing is known of its template.
    code, out, _ = run_verb("data", "check", forms["messages"])
    assert code == 0
    assert "several images" in out


def test_too_many_images_for_the_context_are_told_and_left_out(base, run_verb, tmp_path):
    path = tmp_path / "several.json"
    path.write_text(json.dumps([llava(talk) for talk in (PLACED[5], TALKS[3])]))
    processor = load_processor(base)
    record = read_llava(path)[0]
    assert len(record.images) == 3
    encoded = processor.encode_record(record.turns, False)
    third, end = encoded.pictures[2]
    # In the middle of the third.
    limit = len(encoded.prefix) + third + 2
    short = {**PACKING, "max_length": limit}
    told = rf"id 'f'.* {encoded.length} tokens, 3 images of 4.*data\.max_length is {limit}"
    with pytest.raises(DataError, match=told):
        open_rows(path, None, processor, **short)
    rows = open_rows(path, None, processor, **short, over_length="drop")
    assert (rows.dropped, len(rows), rows.images()) == (1, 1, [])
    rows = open_rows(path, None, processor, **short, over_length="truncate")
    # An image is there as a whole or not at all.
    assert rows.truncated == 1
    assert rows[0].images == record.images[:2]
    assert list(rows[0].segments[0].ids) == encoded.ids[:third]
    assert end - third == 4
    code, out, _ = run_verb("data", "check", path, "--base", base, "--max-length", limit)
    assert code == 3
    assert "3 images of 4" in out


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_a_damaged_container_is_named(forms, tmp_path, form):
    whole = forms[form].read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("other", b"nothing of the kind")):
        file = tmp_path / f"{name}{forms[form].suffix}"
        file.write_bytes(content)
        with pytest.raises(DataError, match=file.name):
            list(iter_llava(file))


def test_images_cleared_from_the_cache_are_unpacked_again(forms, base):
    processor = load_processor(base)
    rows = open_rows(forms["tar"], None, processor, **PACKING)
    for image in rows.images():
        image.unlink()
    rows = open_rows(forms["tar"], None, processor, **PACKING)
    assert all(image.is_file() for image in rows.images())


def test_a_folder_without_data_is_named(tmp_path):
    with pytest.raises(DataError, match=r"parquet.*tar"):
        list(iter_llava(tmp_path))
