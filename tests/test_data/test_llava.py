import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import iter_llava, read_llava
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.templates import Turn


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


GOOD: dict[str, Any] = {
    "id": "a1",
    "image": "x/1.png",
    "conversations": turns("<image>\nWhat?", "A dog"),
}


def test_json_and_jsonl_give_the_same_records(tmp_path: Path) -> None:
    text_only = {"id": 7, "conversations": turns("Hello", "Hi", "And?", "No more")}
    (tmp_path / "a.json").write_text(json.dumps([GOOD, text_only]))
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(text_only)}\n")
    records = read_llava(tmp_path / "a.json")
    assert records == read_llava(tmp_path / "a.jsonl")
    assert records[0].image == tmp_path / "x/1.png"
    assert (records[0].turns[0].question, records[0].turns[0].answer) == ("What?", "A dog")
    assert (records[1].id, records[1].image, len(records[1].turns)) == ("7", None, 2)
    assert read_llava(tmp_path / "a.json", Path("pics"))[0].image == Path("pics/x/1.png")


def test_the_mark_may_stand_behind_the_question(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{**GOOD, "conversations": turns("What?\n<image>", "A dog")}]))
    assert read_llava(path)[0].turns[0].question == "What?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conversations": None}, "`conversations`.*null"),
        ({"conversations": []}, "`conversations`.*0"),
        ({"conversations": turns("<image>\nWhat?")}, "last turn"),
        ({"conversations": turns("<image>\nWhat?", " ")}, "turn 1.*empty"),
        (
            {"conversations": turns("<image>\nWhat?", "Dog")[::-1]},
            "turn 0.*'gpt'.*'human'",
        ),
        ({"conversations": ["hi"]}, 'turn 0.*"hi".*`from` and `value`'),
        ({"conversations": turns("What?", "A dog")}, "`image`.*<image>"),
        ({"image": None}, "<image>.*`image`"),
        ({"image": ["a", "b"]}, "1 <image> mark.*2 images"),
        ({"image": ["a", 3]}, "`image` holds 3"),
        ({"conversations": turns("<image><image> What?", "A dog")}, "2 <image>"),
        ({"conversations": turns("<image>?", "A", "<image>?", "B")}, r"turns \[0, 2\].*one image"),
        ({"conversations": turns("What?", "A <image>")}, "turn 1, an answer"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([GOOD, {**GOOD, **change, "id": "b2"}]))
    with pytest.raises(DataError, match=message) as caught:
        read_llava(path)
    assert f"{path}, record 1 (id 'b2')" in str(caught.value)


def test_a_record_without_conversations_lists_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(GOOD) + "\n" + json.dumps({"id": "b2", "image": "x.png", "text": "?"})
    )
    with pytest.raises(DataError, match=r"line 2 .*'b2'.*`conversations`"):
        read_llava(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"id": 1', "after 0 whole records"),
        ("a.json", "", "is empty"),
        ("a.jsonl", '{"id": 1', "line 1.*JSON"),
        ("a.json", "{}", "list"),
        ("a.json", "[]", "no records"),
        ("a.json", "[3]", "record 0.*3"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_llava(tmp_path / name)


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (", ", "after 3 whole records"),
        (', {"id": "b', "after 3 whole records"),
        (" {}]", "JSON.*record 3"),
        (', "\udcff"]', "JSON.*record 3.*UTF8"),
        ("] x", "JSON.*record 3"),
    ],
)
def test_records_before_a_fault_in_the_file_are_given(
    tmp_path: Path, ending: str, message: str
) -> None:
    path = tmp_path / "a.json"
    text = "[" + ", ".join([json.dumps(GOOD)] * 3) + ending
    path.write_bytes(text.encode(errors="surrogateescape"))
    records = iter_llava(path)
    assert [next(records).id for _ in range(3)] == ["a1"] * 3
    with pytest.raises(DataError, match=message):
        next(records)


def test_a_long_list_is_read_in_the_memory_of_one_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = json.dumps({**GOOD, "conversations": turns("<image>\nWhat?", "A dog. " * 1000)})
    with path.open("w") as handle:
        handle.write("[" + ", ".join([text] * 3000) + "]")
    tracemalloc.start()
    assert sum(1 for _ in iter_llava(path)) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert peak < 1e6


def test_the_text_stays_as_it_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with_picture = {**GOOD, "conversations": turns(" <image>\n What? ", " A dog\n", " Sure?", "y ")}
    without = {"conversations": turns(" Hello\n", " Hi ")}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([with_picture, without]).encode())
    first, second = read_llava(path)
    assert first.turns == (Turn("What?", " A dog\n"), Turn(" Sure?", "y "))
    assert second.turns == (Turn(" Hello\n", " Hi "),)
    assert second.id == "#1"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path, name: str) -> None:
    record = json.dumps({"conversations": turns("\U0001f600 or", "half")})
    record = record.replace("half", "\\ud83d!")
    (tmp_path / name).write_text(f"[{record}]" if name == "a.json" else record)
    assert read_llava(tmp_path / name)[0].turns == (Turn("\U0001f600 or", "?!"),)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json"):
        read_llava(tmp_path / "absent.json")


def test_pictures_open_as_rgb_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (255, 0, 0, 0)).save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == (
        "RGB",
        (4, 3),
        (255, 255, 255),
    )


def test_missing_and_corrupt_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.png.*'r7'"):
        open_picture(tmp_path / "absent.png", "r7")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        open_picture(tmp_path / "text.png")
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.png"):
        open_picture(tmp_path / "cut.png")
    with pytest.raises(DataError, match="folder"):
        open_picture(tmp_path)
