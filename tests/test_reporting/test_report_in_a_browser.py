"""The page in a real browser: valid HTML, contrast and labels by axe-core, nothing too wide."""

from dataclasses import replace

import html5lib
import pytest
from made_history import write_history
from made_questions import with_questions
from made_report import make_report

from hydra_mobile.evaluation.results.rank_history import rank_history
from hydra_mobile.reporting.html import render_html

pytestmark = pytest.mark.slow

WIDTHS = (1280, 768, 390, 320)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Pages of a report that knows everything, of one without comparisons, and of a busy one."""
    folder = tmp_path_factory.mktemp("page")
    write_history(folder)
    full = with_questions(make_report())
    training = replace(full.training, rank_history=rank_history(folder, steps=400))
    full = replace(full, training=training)
    noisy = tuple(replace(s, others=0.4) for s in full.systems)
    reports = {
        "full": full,
        "busy": replace(full, systems=noisy),
        "plain": make_report(),
    }
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(render_html(report), "utf-8")
    return folder


def opened(browser, file, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=True
    )
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    return page


@pytest.mark.parametrize("name", ["full", "busy", "plain"])
def test_html_is_valid(page_file, name):
    parser = html5lib.HTMLParser(strict=True)
    parser.parse((page_file / f"{name}.html").read_text("utf-8"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["full", "plain"])
def test_nothing_is_wider_than_the_window(browser, page_file, name, width):
    page = opened(browser, page_file / f"{name}.html", width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(e => {
             if (e.closest('.scroll') || e.closest('svg') || e.closest('.mark')) return false;
             const r = e.getBoundingClientRect();
             return r.width > 0 && r.right > innerWidth + 1;
           }).map(e => e.tagName + '.' + e.className).slice(0, 5)"""
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["full", "busy"])
def test_contrast_and_labels(browser, page_file, name, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = opened(browser, page_file / f"{name}.html", width, scheme)
    found = axe.Axe().run(page).response
    assert found["passes"]
    told = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found["violations"]]
    assert told == []


def test_the_page_needs_no_script_and_no_network(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((page_file / "full.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.locator("h1").inner_text().startswith("Training lifted")
