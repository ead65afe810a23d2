"""Pictures in files and in tables, and the folders that they are in."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from hydra_mobile.benchmarks.pictures import FilePicture, unpacked
from hydra_mobile.benchmarks.shared.locate import DataRoots
from hydra_mobile.core.errors import DataError


def encoded(color: tuple[int, ...], mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (4, 3), color).save(buffer, "png")
    return base64.b64encode(buffer.getvalue())


def test_a_cell_is_unpacked_into_the_cache_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    red, transparent = (
        unpacked(cell.decode(), f"table.tsv, row {number}")
        for number, cell in enumerate((encoded((255, 0, 0)), encoded((0, 0, 0, 0), "RGBA")))
    )
    assert red.exists()
    assert (red.open().mode, red.open().size, red.open().getpixel((0, 0))) == (
        "RGB", (4, 3), (255, 0, 0)
    )  # fmt: skip
    assert transparent.open().getpixel((0, 0)) == (0, 0, 0), "dropped, as LLaVA does"
    assert red.content() == base64.b64decode(encoded((255, 0, 0)))
    assert unpacked(encoded((255, 0, 0)).decode(), "another row") == red
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".png", ".png"]


def test_a_broken_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    cell = encoded((255, 0, 0)).decode()
    for broken in ("%%%%" + cell, cell[:21], cell[:20], "AAAA" * 40):
        picture = unpacked(broken, "table.tsv, row 1")
        assert not picture.exists()
        with pytest.raises(DataError, match=r"table\.tsv, row 1"):
            picture.open()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    # A header alone is there; what it lacks shows when its pixels are needed.
    noise = io.BytesIO()
    Image.effect_noise((40, 40), 90).save(noise, "png")
    cut = unpacked(base64.b64encode(noise.getvalue()[:300]).decode(), "table.tsv, row 2")
    assert cut.exists()
    with pytest.raises(DataError, match=r"table\.tsv, row 2"):
        cut.open()


def test_a_file_is_opened_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(base64.b64decode(encoded((0, 0, 255))))
    picture = FilePicture(path)
    assert picture.exists()
    assert picture.open().getpixel((0, 0)) == (0, 0, 255)
    assert picture.key == str(path)
    missing = FilePicture(tmp_path / "b.png")
    assert not missing.exists()
    with pytest.raises(DataError, match=r"b\.png.*exist"):
        missing.open()


@pytest.mark.parametrize(
    ("tree", "given"),
    [
        ("mme", "."),
        ("MME", "."),
        ("mme", "mme"),
        ("benchmark_data/mme", "."),
        ("playground/data/eval/MME", "."),
        ("playground/data/eval/MME", "playground/data"),
        ("playground/data/eval/MME", "playground/data/eval"),
    ],
)
def test_every_tree_and_every_folder_of_it_is_found(tmp_path: Path, tree: str, given: str) -> None:
    (tmp_path / tree).mkdir(parents=True)
    (tmp_path / tree / "questions.jsonl").touch()
    places = DataRoots(tmp_path / given, ("mme", "MME"))
    assert places.find("other.jsonl", "questions.jsonl") == tmp_path / tree / "questions.jsonl"
    assert places.expected("pictures") == tmp_path / tree / "pictures"


def test_what_belongs_to_an_inner_folder_or_a_file_is_found_above(tmp_path: Path) -> None:
    inner = tmp_path / "pope" / "coco"
    inner.mkdir(parents=True)
    (inner / "labels.json").touch()
    (tmp_path / "pope" / "questions.jsonl").touch()
    (tmp_path / "link").symlink_to(inner)
    for given in (inner, inner / "labels.json", tmp_path / "link"):
        found = DataRoots(given, ("pope",)).find("questions.jsonl", above=True)
        assert found is not None
        assert found.samefile(tmp_path / "pope" / "questions.jsonl")
        assert DataRoots(given, ("pope",)).find("questions.jsonl") is None


def test_a_missing_file_is_named_with_the_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json or b\.json.*missing"):
        DataRoots(tmp_path, ("mme",)).require("a.json", "b.json", what="questions")
