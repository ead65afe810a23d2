from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from damage import flip_bit
from memory_rows import build_rows

from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.files import cache_home
from hydra_mobile.data.llava import read_llava
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import template_named
from hydra_mobile.training.data.token_cache import open_rows

PACKING = {"share_prefix": True, "questions_per_row": 4, "max_length": 600}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, tiny_base) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def processor(tiny_base: Path) -> MobileVLMProcessor:
    return MobileVLMProcessor.from_pretrained(tiny_base)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """More records than one batch of the tokenizer; pictures come back far apart."""
    return write_data(tmp_path / "data.json", 1300)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Records of the same kinds, for what is made again and again."""
    return write_data(tmp_path / "few.json", 100)


def write_data(path: Path, count: int) -> Path:
    draw = random.Random(1)
    records = []
    for number in range(count):
        turns = []
        for turn in range(draw.randint(1, 3)):
            question = f"What is {number}, part {turn}? " * draw.randint(1, 3)
            turns.append({"from": "human", "value": question})
            turns.append({"from": "gpt", "value": f"A cat, {draw.random()}. "})
        record = {"id": number, "conversations": turns}
        if draw.random() < 0.8:
            turns[0]["value"] = "<image>\n" + turns[0]["value"]
            record["image"] = f"bilder/ä {draw.randrange(300)}.png"
        records.append(record)
    path.write_text(json.dumps(records))
    return path


def stores() -> list[Path]:
    return sorted((cache_home() / "rows").glob("*"))


@pytest.mark.parametrize("template", ["chatml", "v1", "plain"])
def test_rows_from_the_disk_are_the_rows_made_in_memory(data, processor, template):
    processor.template = template_named(template)
    if template == "plain":
        records = json.loads(data.read_text())
        captions = [r | {"conversations": r["conversations"][:2]} for r in records]
        data.write_text(json.dumps(captions))
    expected = build_rows(read_llava(data), processor, **PACKING)
    for rows in (open_rows(data, None, processor, **PACKING) for _ in range(2)):
        assert list(rows) == list(expected)
        for name in ("lengths", "conversations", "with_image"):
            assert getattr(rows, name).tolist() == getattr(expected, name).tolist()
        assert rows.images() == expected.images()
        assert rows.record_of(rows.images()[7]) == expected.record_of(expected.images()[7])
    assert len(stores()) == 1


def test_the_second_start_reads_nothing_anew(data, processor):
    seen: list[int] = []
    open_rows(data, None, processor, **PACKING, progress=lambda done, total, what: seen.append(1))
    assert seen
    seen.clear()
    open_rows(data, None, processor, **PACKING, progress=lambda done, total, what: seen.append(1))
    assert not seen


def test_the_image_folder_is_no_part_of_the_store(few, processor):
    here = open_rows(few, None, processor, **PACKING)
    there = open_rows(few, Path("/elsewhere"), processor, **PACKING)
    assert len(stores()) == 1
    assert [few.parent / p.relative_to("/elsewhere") for p in there.images()] == here.images()


def test_whatever_decides_the_rows_makes_another_store(few, processor):
    open_rows(few, None, processor, **PACKING)
    open_rows(few, None, processor, **PACKING | {"questions_per_row": 3})
    open_rows(few, None, processor, **PACKING | {"max_length": 599})
    open_rows(few, None, processor, **PACKING, over_length="drop")
    processor.template = replace(processor.template, user_suffix=" ")
    open_rows(few, None, processor, **PACKING)
    processor.num_image_tokens += 1
    open_rows(few, None, processor, **PACKING)
    few.write_text(few.read_text() + " ")
    open_rows(few, None, processor, **PACKING)
    assert len(stores()) == 7


def test_a_record_that_is_refused_leaves_no_store(data, processor):
    with pytest.raises(DataError, match=r"Record \d+ .*max_length.*60"):
        open_rows(data, None, processor, **PACKING | {"max_length": 60})
    records = json.loads(data.read_text())
    records[900]["conversations"][1]["value"] = " "
    data.write_text(json.dumps(records))
    with pytest.raises(DataError, match=r"record 900 .*'900'.*turn 1"):
        open_rows(data, None, processor, **PACKING)
    assert stores() == []


def test_a_killed_build_leaves_nothing_that_loads(data, processor, tiny_base):
    program = f"""
        import os, signal
        from pathlib import Path
        from hydra_mobile.models.processor import MobileVLMProcessor
        from hydra_mobile.training.data import token_cache as token_store

        def die(folder, value):
            os.kill(os.getpid(), signal.SIGKILL)

        token_store.write_json = die
        processor = MobileVLMProcessor.from_pretrained({str(tiny_base)!r})
        token_store.open_rows(Path({str(data)!r}), None, processor, **{PACKING!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not [store for store in stores() if not store.name.startswith(".")]
    expected = build_rows(read_llava(data), processor, **PACKING)
    assert list(open_rows(data, None, processor, **PACKING)) == list(expected)


@pytest.mark.parametrize(
    "name", ["ids", "learned", "starts", "pictures", "names", "order", "first"]
)
def test_a_damaged_store_is_made_anew(few, processor, name):
    expected = list(open_rows(few, None, processor, **PACKING))
    file = stores()[0] / f"{name}.npy"
    whole = file.read_bytes()
    flip_bit(file, 0.9)
    assert list(open_rows(few, None, processor, **PACKING)) == expected
    assert file.read_bytes() == whole
    os.truncate(file, file.stat().st_size - 4)
    assert list(open_rows(few, None, processor, **PACKING)) == expected


def test_a_damaged_record_of_a_store_is_made_anew(few, processor):
    expected = list(open_rows(few, None, processor, **PACKING))
    record = stores()[0] / "rows.json"
    whole = record.read_bytes()
    for share in (0.0, 0.3, 0.6, 0.9):
        flip_bit(record, share, 0)
        assert list(open_rows(few, None, processor, **PACKING)) == expected
        assert record.read_bytes() == whole


def test_a_full_disk_is_said_before_the_work(data, processor, monkeypatch):
    import shutil

    usage = shutil.disk_usage(data.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(HydraError, match=r"(?i)space.*data\.json"):
        open_rows(data, None, processor, **PACKING)
