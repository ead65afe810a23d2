"""What can be known of the screens without Android: sizes, labels, texts, themes in their XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "android_demo" / "app" / "src" / "main"
ANDROID = "{http://schemas.android.com/apk/res/android}"
LAYOUTS = sorted((APP / "res" / "layout").glob("*.xml"))
SOURCES = "".join(file.read_text() for file in sorted((APP / "kotlin").rglob("*.kt")))


@pytest.fixture(params=LAYOUTS, ids=lambda path: path.stem)
def views(request: pytest.FixtureRequest) -> list[ElementTree.Element]:
    return list(ElementTree.parse(request.param).getroot().iter())


def _strings() -> dict[str, str]:
    root = ElementTree.parse(APP / "res" / "values" / "strings.xml").getroot()
    return {str(string.get("name")): str(string.text) for string in root}


def test_there_are_layouts() -> None:
    assert len(LAYOUTS) >= 7


def test_texts_are_resources(views: list[ElementTree.Element]) -> None:
    for view in views:
        for name in ("text", "hint", "contentDescription"):
            value = view.get(f"{ANDROID}{name}")
            assert value is None or value.startswith("@string/"), (view.tag, value)


def test_text_grows_with_the_users_font_size(views: list[ElementTree.Element]) -> None:
    for view in views:
        size = view.get(f"{ANDROID}textSize", "16sp")
        assert size.endswith("sp"), size
        if view.tag in ("Button", "EditText", "TextView"):
            # Fixed heights cut large fonts off.
            height = view.get(f"{ANDROID}layout_height")
            assert height in ("wrap_content", "match_parent"), (view.tag, height)


def test_what_is_touched_is_large_enough(views: list[ElementTree.Element]) -> None:
    for view in views:
        if view.tag in ("Button", "EditText"):
            assert view.get(f"{ANDROID}minHeight") == "48dp", view.attrib


def test_screen_readers_have_a_label_for_everything(views: list[ElementTree.Element]) -> None:
    labeled = {
        str(view.get(f"{ANDROID}labelFor")).rpartition("/")[2]
        for view in views
        if view.get(f"{ANDROID}labelFor")
    }
    for view in views:
        name = str(view.get(f"{ANDROID}id")).rpartition("/")[2]
        if view.tag in ("ImageView", "ImageButton"):
            assert view.get(f"{ANDROID}contentDescription"), view.attrib
        if view.tag == "EditText":
            assert name in labeled or view.get(f"{ANDROID}hint"), view.attrib


def test_colors_are_the_themes(views: list[ElementTree.Element]) -> None:
    for view in views:
        for name, value in view.attrib.items():
            if "olor" in name or name.endswith("background"):
                assert value.startswith("?"), (view.tag, name, value)


def test_light_and_dark_themes_have_the_same_name() -> None:
    parents = {}
    for folder in ("values", "values-night"):
        root = ElementTree.parse(APP / "res" / folder / "styles.xml").getroot()
        parents[folder] = {str(style.get("name")): str(style.get("parent")) for style in root}
    assert parents["values"]["Demo"].endswith("Material.Light")
    assert parents["values-night"]["Demo"].endswith("Theme.Material")


def test_every_text_is_used_and_takes_what_it_is_given() -> None:
    everywhere = SOURCES + "".join(file.read_text() for file in APP.rglob("*.xml"))
    for name, text in _strings().items():
        assert re.search(rf"R\.string\.{name}\b|@string/{name}\b", everywhere), name
        count = len(set(re.findall(r"%(\d)\$", text)))
        for given in re.findall(
            rf"getString\(R\.string\.{name}((?:, [^,()]+(?:\([^()]*\))?[^,()]*)*)\)", SOURCES
        ):
            assert len([part for part in given.split(", ") if part]) == count, (name, given)


def test_every_screen_is_declared() -> None:
    manifest = ElementTree.parse(APP / "AndroidManifest.xml").getroot()
    declared = {str(e.get(f"{ANDROID}name")) for e in manifest.iter() if e.tag in ("activity",)}
    written = set(re.findall(r"^class (\w+) : Activity\(\)", SOURCES, re.MULTILINE))
    assert declared == {f".{name}" for name in written}
