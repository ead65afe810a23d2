from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.data.prefetch import PicturesAhead


@pytest.fixture
def pictures(tmp_path: Path) -> list[FilePicture]:
    made = []
    for number in range(6):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (2, 2), (number, 0, 0)).save(file)
        made.append(FilePicture(file))
    return made


def prepare(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1)


def test_pixels_come_in_order(pictures: list[FilePicture]) -> None:
    with PicturesAhead(pictures, prepare, ahead=2) as ahead:
        assert [float(ahead.take(p)[0, 0, 0]) for p in pictures] == [0, 1, 2, 3, 4, 5]


def test_pictures_are_prepared_beside_the_caller_and_only_a_few_ahead(
    pictures: list[FilePicture],
) -> None:
    seen: list[tuple[float, str]] = []
    third = threading.Event()

    def noted(image: Image.Image) -> np.ndarray:
        pixels = prepare(image)
        seen.append((float(pixels[0, 0, 0]), threading.current_thread().name))
        if len(seen) == 3:
            third.set()
        return pixels

    with PicturesAhead(pictures, noted, ahead=2) as ahead:
        ahead.take(pictures[0])
        assert third.wait(5), "nothing was prepared beside the caller"
        assert [red for red, _ in seen] == [0, 1, 2]
    assert threading.current_thread().name not in {name for _, name in seen}


def test_a_picture_of_several_questions_is_prepared_once(pictures: list[FilePicture]) -> None:
    reds: list[float] = []

    def noted(image: Image.Image) -> np.ndarray:
        pixels = prepare(image)
        reds.append(float(pixels[0, 0, 0]))
        return pixels

    asked = [pictures[i] for i in (0, 0, 1, 0, 2, 3, 4, 0)]
    with PicturesAhead(asked, noted, ahead=3) as ahead:
        assert [float(ahead.take(p)[0, 0, 0]) for p in asked] == [0, 0, 1, 0, 2, 3, 4, 0]
    # The last question comes when the picture is not held any more.
    assert reds == [0, 1, 2, 3, 4, 0]


def test_a_damaged_picture_is_named_when_it_is_needed(pictures: list[FilePicture]) -> None:
    pictures[1].path.write_bytes(b"no picture")
    with PicturesAhead(pictures, prepare) as ahead:
        ahead.take(pictures[0])
        with pytest.raises(DataError, match=r"1\.png"):
            ahead.take(pictures[1])


def test_asking_out_of_order_is_refused(pictures: list[FilePicture]) -> None:
    with (
        PicturesAhead(pictures, prepare) as ahead,
        pytest.raises(HydraError, match="order"),
    ):
        ahead.take(pictures[3])
