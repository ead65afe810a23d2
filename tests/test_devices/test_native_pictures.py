"""The C++ runner reads pictures to the very pixels that Python reads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hydra_mobile.models.pictures import open_picture

SOURCES = Path(__file__).parents[2] / "native/src"
MAIN = """
#include <cstdio>
#include <cstdlib>

#include "failure.h"
#include "picture.h"

int main(int, char** files) {
  for (++files; *files; ++files) {
    try {
      const hydra::Picture picture = hydra::read_picture(*files, !std::getenv("STORED"));
      std::printf("%d %d\\n", picture.width, picture.height);
      std::fwrite(picture.rgb.data(), 1, picture.rgb.size(), stdout);
    } catch (const hydra::Failure&) {
      return 3;
    }
  }
}
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("c++") or not Path("/usr/include/stb/stb_image.h").is_file():
        pytest.skip("a C++ compiler and libstb-dev are needed")
    folder = tmp_path_factory.mktemp("native")
    (folder / "main.cpp").write_text(MAIN)
    files = [folder / "main.cpp"]
    files += [SOURCES / f"{name}.cpp" for name in ("picture", "orientation", "resample")]
    command = ["c++", "-std=c++20", "-O1", f"-I{SOURCES}", *map(str, files), "-o"]
    subprocess.run([*command, str(folder / "reader")], check=True)
    return folder / "reader"


def pixels(reader: Path, file: Path, turn: bool = True) -> np.ndarray:
    stored = {} if turn else {"STORED": "1"}
    out = subprocess.run([str(reader), str(file)], check=True, capture_output=True, env=stored)
    size, _, content = out.stdout.partition(b"\n")
    width, height = map(int, size.split())
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


def noise(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(kind).max + 1, shape, dtype=kind)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_8_and_16_bits(reader: Path, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "color.png", exif=exif)
    Image.fromarray(noise(5, 7, kind=np.uint16)).save(tmp_path / "deep.png", exif=exif)
    # One gray a block: what a JPEG decoder makes of it is no matter of rounding.
    blocks = np.kron(noise(2, 3), np.ones((8, 8), np.uint8)) // 8 * 8
    Image.fromarray(blocks).save(tmp_path / "photo.jpg", exif=exif, quality=100)
    for name in ("color.png", "deep.png", "photo.jpg"):
        for turn in (True, False):
            expected = np.asarray(open_picture(tmp_path / name, turn=turn))
            assert expected.shape[:2] in ((5, 7), (7, 5), (16, 24), (24, 16))
            np.testing.assert_array_equal(pixels(reader, tmp_path / name, turn), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P"])
@pytest.mark.parametrize("turn", [True, False])
def test_transparent_pixels_are_on_white_or_opaque(
    reader: Path, tmp_path: Path, mode: str, turn: bool
) -> None:
    picture = Image.fromarray(noise(9, 40, 4), "RGBA").convert(mode)
    picture.save(tmp_path / "a.png")
    expected = np.asarray(open_picture(tmp_path / "a.png", turn=turn))
    np.testing.assert_array_equal(pixels(reader, tmp_path / "a.png", turn), expected)


def test_what_is_no_regular_file_is_refused(reader: Path, tmp_path: Path) -> None:
    assert subprocess.run([str(reader), str(tmp_path)], check=False).returncode == 3
