"""Drawings of people's own folders: what they may not do is told, and never done."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hydra_mobile.core.errors import DataError
from hydra_mobile.examples.emojiqa.openmoji import FolderArt
from hydra_mobile.examples.emojiqa.svg import SvgProcess

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
SQUARE = f'{HEAD} viewBox="0 0 8 8">'
RED = '<rect width="8" height="8" fill="red"/>'


def drawn(folder: Path, *contents: str) -> list[Image.Image | str]:
    """Return each drawing of a folder, or why there is none."""
    for number, content in enumerate(contents):
        (folder / f"1f60{number}.svg").write_text(content)
    art = FolderArt("mine", folder)
    made: list[Image.Image | str] = []
    for number in range(len(contents)):
        try:
            made.append(art.render(f"1f60{number}", 16))
        except DataError as error:
            made.append(error.what)
    return made


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (f'{SQUARE}<image href="/etc/hostname"/></svg>', "/etc/hostname"),
        (f'{SQUARE}<image xlink:href="file:///a.png"/></svg>', "file:///a.png"),
        (f"{SQUARE}<rect fill=\"url('http://a/b#c')\"/></svg>", "http://a/b"),
        (f"{SQUARE}<style>@import 'a.css';</style>{RED}</svg>", "style sheet"),
        (f'{SQUARE}<g opacity="1">', "SVG"),
        (SQUARE + '<g opacity=".9">' * 900 + RED + "</g>" * 900 + "</svg>", "nested"),
        (f'{HEAD} width="1" height="100000">{RED}</svg>', "1 x 100000"),
        (f'{HEAD} viewBox="0 0 100000 1">{RED}</svg>', "100000 x 1"),
        (f'{HEAD} width="nan" height="0" viewBox="0 0 0 0">{RED}</svg>', "0 x 0"),
        (f'<!DOCTYPE svg [<!ENTITY a "aaaa">]>{SQUARE}{RED}</svg>', "entities"),
        ("<svg", "SVG"),
    ],
)
def test_what_a_drawing_may_not_do_is_named(tmp_path: Path, content: str, found: str) -> None:
    (what,) = drawn(tmp_path, content)
    assert isinstance(what, str)
    assert found in what
    assert "1f600.svg" in what


def test_others_are_drawn_between_those_that_cannot_be(tmp_path: Path) -> None:
    link = f'{SQUARE}<defs><g id="a">{RED}</g></defs><use xlink:href="#a"/></svg>'
    first, broken, second = drawn(tmp_path, f"{SQUARE}{RED}</svg>", f"{SQUARE}</svg>", link)
    assert isinstance(first, Image.Image)
    assert isinstance(broken, str)
    assert isinstance(second, Image.Image)
    assert first.tobytes() == second.tobytes()
    assert first.getpixel((8, 8)) == (255, 0, 0, 255)


def test_a_drawing_that_ends_its_renderer_is_told_and_the_next_is_drawn() -> None:
    process = SvgProcess()
    deep = SQUARE + '<g opacity=".9">' * 900 + RED + "</g>" * 900 + "</svg>"
    with pytest.raises(DataError, match=r"deep\.svg"):
        process.draw("deep.svg", deep.encode(), 16)
    assert process.draw("red.svg", f"{SQUARE}{RED}</svg>".encode(), 16).startswith(b"\x89PNG")
