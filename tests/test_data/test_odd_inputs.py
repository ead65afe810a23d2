"""Data that no trainer should get, in the containers and dialects of others: told, not guessed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import iter_llava

TALK = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]


def write_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(made, "png")
    return made.getvalue()


def part(text: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}, TALK[1]]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        # Each was trained on as the text "None", "5" or without what was left out.
        ({"messages": [{"role": "user", "content": None}, TALK[1]], "images": ["a.png"]}, "turn 0"),
        (
            {"messages": [{"role": "user", "content": 5}, TALK[1]], "images": ["a.png"]},
            "5.*a number",
        ),
        (part(None), "`text` is null"),
        (part(5), "`text` is 5"),
        ({"messages": [{"role": "system", "content": 5}, *TALK]}, "system.*5"),
        # Messages name what was found, not all of it.
        ({f"key{n}": n for n in range(9000)}, "conversations.*key0, .*8,988 more"),
        ({"conversations": [{f"key{n}": n for n in range(9000)}]}, "turn 0.*8,988 more"),
        ({"messages": [{"role": "x" * 9000, "content": "Which?"}, TALK[1]]}, "turn 0 is from"),
        ({"id": "x" * 9000, "messages": TALK[:1]}, "last turn"),
    ],
)
def test_what_is_no_text_is_told_in_a_short_message(tmp_path, record, message):
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        list(iter_llava(file))
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


def test_dates_of_a_parquet_file_are_left_alone(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    times = {
        "at": pa.array([1234567890123456789], pa.timestamp("ns")),
        "far": pa.array([2**60], pa.timestamp("us")),
        "took": pa.array([2**62], pa.duration("s")),
    }
    file = tmp_path / "chats.parquet"
    pq.write_table(pa.table({"messages": [TALK], **times}), file)
    (record,) = iter_llava(file)
    assert record.turns[0].question == "Which?"


def test_a_parquet_file_with_damaged_text_is_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    bytes_ = [pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    text = pa.StringArray.from_buffers(1, *bytes_)
    file = tmp_path / "chats.parquet"
    pq.write_table(pa.table({"messages": [TALK], "note": text}), file)
    with pytest.raises(DataError, match=r"chats\.parquet.*record 0.*UTF-8"):
        list(iter_llava(file))


def test_a_sample_of_a_tar_holds_each_member_once(tmp_path):
    talk = json.dumps({"messages": TALK}).encode()
    twice = write_tar(
        tmp_path / "a.tar", ("s.json", talk), ("s.png", picture()), ("s.png", b"other")
    )
    with pytest.raises(DataError, match=r"'s'.*\.png"):
        list(iter_llava(twice))
    two = write_tar(tmp_path / "b.tar", ("s.json", talk), ("s.meta.json", b'{"note": 1}'))
    (record,) = iter_llava(two)
    assert record.turns[0].answer == "This."
    bad = write_tar(tmp_path / "c.tar", ("s.json", talk), ("s.txt", b"\xff"))
    with pytest.raises(DataError, match=r"sample s.*\.txt.*UTF-8"):
        list(iter_llava(bad))


def test_half_a_surrogate_pair_reads_alike_in_every_container(tmp_path):
    talk = json.dumps({"messages": [{"role": "user", "content": "a \ud83d"}, TALK[1]]})
    lines = tmp_path / "a.jsonl"
    lines.write_text(talk + "\n")
    tar = write_tar(tmp_path / "a.tar", ("s.json", talk.encode()))
    texts = [[t.question for r in iter_llava(file) for t in r.turns] for file in (lines, tar)]
    assert texts == [["a ?"], ["a ?"]]


def test_headers_and_samples_of_a_tar_are_bounded(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 3 << 30
    bomb = tmp_path / "bomb.tgz"
    bomb.write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    with pytest.raises(DataError, match=r"bomb\.tgz.*header of 3,221,225,472 bytes"):
        list(iter_llava(bomb))
    large = tmp_path / "large.tar"
    with large.open("wb") as handle:
        member = tarfile.TarInfo("s.png")
        member.size = 5 << 30
        handle.write(member.tobuf(tarfile.GNU_FORMAT))
        handle.truncate(6 << 30)  # a hole: no disk is used
    with pytest.raises(DataError, match=r"s\.png.*5,368,709,120 bytes"):
        list(iter_llava(large))


def test_a_compressed_list_is_not_called_a_damaged_tar(tmp_path):
    file = tmp_path / "chats.json.gz"
    file.write_bytes(gzip.compress(json.dumps([{"messages": TALK}]).encode()))
    with pytest.raises(DataError, match=r"chats\.json\.gz.*compressed") as caught:
        list(iter_llava(file))
    assert "gunzip" in caught.value.fix


def test_a_tar_that_is_cut_short_anywhere_is_told(tmp_path):
    talk = json.dumps({"messages": TALK}).encode()
    members = [(f"{n}.{kind}", talk if kind == "json" else picture()) for n in range(4) for kind in
               ("json", "png")]  # fmt: skip
    whole = write_tar(tmp_path / "a.tar", *members).read_bytes()
    packed, file = gzip.compress(whole), tmp_path / "cut"
    ended = len(whole.rstrip(b"\0")) // 512 + 2
    cuts = [whole[: 512 * n] for n in range(2, ended - 1)]
    cuts += [gzip.compress(cut) for cut in cuts[::3]]
    cuts += [packed[:n] for n in range(100, len(packed), 37)]
    stored = bytearray(gzip.compress(whole, 0))
    stored[bytes(stored).index(b"This.") + 1] ^= 1  # the checksum alone tells
    for cut in [*cuts, bytes(stored)]:
        file.write_bytes(cut)
        with pytest.raises(DataError, match="cut"):
            list(iter_llava(file))
    for sound in (whole, packed, whole[: 512 * ended]):
        file.write_bytes(sound)
        assert len(list(iter_llava(file))) == 4


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["tar", "tgz"])
def test_flipped_bits_of_a_tar_raise_nothing_foreign(tmp_path, packed):
    talk = json.dumps({"messages": TALK}).encode()
    whole = write_tar(tmp_path / "a.tar", ("s.json", talk), ("s.png", picture())).read_bytes()
    content, chance = packed(whole), random.Random(4)
    file = tmp_path / "flipped.tgz"
    refused = 0
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(3):
            changed[chance.randrange(2, min(2000, len(changed)))] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        try:
            list(iter_llava(file))
        except DataError:
            refused += 1
    assert refused > 50


def test_check_counts_images_whose_names_cannot_be_and_files_without_records(tmp_path, run_verb):
    file = tmp_path / "chats.jsonl"
    file.write_text(
        json.dumps({"messages": TALK, "image": "x" * 5000}) + "\n" + json.dumps(part(5)) + "\n"
    )
    code, out, err = run_verb("data", "check", file, "--json")
    problems = json.loads(out)["result"]["problems"]
    assert code == 3, err
    assert problems["missing pictures"]["count"] == 1
    assert problems["malformed records"]["count"] == 1
    assert len(out) < 5000
    file.write_text("\n")
    code, _, err = run_verb("data", "check", file)
    assert code == 3
    assert "no records" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
@pytest.mark.parametrize("name", ["data.json", "data.parquet", "data.jsonl"])
def test_a_pipe_is_refused_instead_of_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} is no file"):
        list(iter_llava(tmp_path / name))
