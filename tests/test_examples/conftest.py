"""Drawings of our own in OpenMoji's place, so that these tests need neither network nor cache."""

import hashlib
from pathlib import Path

import pytest

from hydra_mobile.examples.emojiqa import dataset as emojiqa
from hydra_mobile.examples.emojiqa.names import all_things
from hydra_mobile.examples.emojiqa.openmoji import Art, plain_code


def drawing(code: str, salt: str = "") -> bytes:
    """Return an SVG that differs from code to code and leaves margins."""
    digest = hashlib.sha256((code + salt).encode()).hexdigest()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">'
        f'<rect x="12" y="20" width="48" height="24" fill="#{digest[:6]}"/>'
        f'<circle cx="{20 + int(digest[6], 16)}" cy="32" r="9" fill="#{digest[7:13]}"/></svg>'
    ).encode()


class PlainArt(Art):
    name = "plain"

    def codes(self) -> set[str]:
        return {plain_code(thing.code) for thing in all_things()}

    def source(self, code: str) -> tuple[str, bytes]:
        return f"{code}.svg", drawing(code)


@pytest.fixture(autouse=True)
def _plain_art(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emojiqa, "OpenMoji", PlainArt)


@pytest.fixture
def art_folder(tmp_path: Path) -> Path:
    """A folder as Noto ships it: emoji_u1f436.svg."""
    folder = tmp_path / "noto"
    folder.mkdir()
    for thing in all_things():
        stem = "emoji_u" + thing.code.lower().replace("-", "_")
        (folder / f"{stem}.svg").write_bytes(drawing(thing.code, "noto"))
    return folder
