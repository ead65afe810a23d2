"""The site of the documentation in a real browser: it can be read on a phone and on a desktop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs.build import site

pytestmark = pytest.mark.slow

#: Texts of elements that stick out of the window and cannot be scrolled to.
_CUT = """() => [...document.querySelectorAll('.md-content *')].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || box.right <= document.documentElement.clientWidth + 1) return false;
  for (let e = element.parentElement; e !== document.body; e = e.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return false;
  return true;
}).slice(0, 3).map(element => element.textContent.slice(0, 60))"""
#: The drawing at the top of README: its width, and that of what it is in.
_DRAWING = """() => { const code = document.querySelector('pre code');
  return [code.scrollWidth, code.clientWidth]; }"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    out = tmp_path_factory.mktemp("site")
    assert site.build(out) == 0
    return [page for page in sorted(out.rglob("*.html")) if page.name != "404.html"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_fits_the_window(
    browser: Any, pages: list[Path], width: int, scheme: str
) -> None:
    window = {"width": width, "height": 900}
    context = browser.new_context(viewport=window, color_scheme=scheme)
    page = context.new_page()
    found = {}
    for file in pages:
        page.goto(file.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth") > width
        cut = page.evaluate(_CUT)
        if wide or cut:
            found[file.name] = cut
    context.close()
    assert len(pages) > 25
    assert not found


def test_the_drawing_of_readme_is_whole_on_a_desktop(browser: Any, pages: list[Path]) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(min(pages, key=lambda file: len(file.parts)).with_name("index.html").as_uri())
    whole, shown = page.evaluate(_DRAWING)
    assert whole <= shown
