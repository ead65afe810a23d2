"""README, docs and the index of experiments show what the JSON of the experiments says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.build import config_page, site
from docs.build.counts import counts
from docs.build.figures import figures
from docs.build.pages import EXPERIMENTS, FIGURE, PLOTS, ROOT, filled, pages, plot_of, render

TEXTS = {page: page.read_text(encoding="utf-8") for page in pages()}
MARKED = [page for page, text in TEXTS.items() if re.search("<!-- (n:|begin |registry )", text)]
NAMED = sorted({name for text in TEXTS.values() for name in re.findall(r"<!-- begin (\S+)", text)})
RESULTS = sorted(EXPERIMENTS.rglob("*.json"))
QUESTIONS = sorted({file.parent for file in RESULTS})


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", MARKED, ids=title)
def test_a_page_shows_what_the_results_say(page: Path) -> None:
    text = TEXTS[page]
    assert text.count("<!-- end -->") == text.count("<!-- begin ")
    assert text.count("<!-- /n -->") == text.count("<!-- n:")
    assert text.count("<!-- /registry -->") == text.count("<!-- registry ")
    assert filled(text) == text, "make it again: python -m docs.build.pages"


def test_every_figure_is_on_a_page() -> None:
    shown = {name for text in TEXTS.values() for name, _ in FIGURE.findall(text)}
    assert figures(EXPERIMENTS).keys() == shown


def test_every_table_is_on_a_page() -> None:
    measured = {file.relative_to(EXPERIMENTS).as_posix() for file in RESULTS}
    assert set(NAMED) <= measured
    compared = [name for name in measured if name.startswith(("quality/", "inference_speed/"))]
    assert set(compared) <= set(NAMED)


def test_a_name_that_is_no_figure_or_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such"):
        filled("<!-- n:no_such.figure -->1<!-- /n -->")
    with pytest.raises(ValueError, match="no_such"):
        render("no_such/result.json")
    with pytest.raises(ValueError, match="no_such"):
        filled("<!-- registry no_such -->\n<!-- /registry -->")


def test_words_and_numbers_are_counted_where_people_read_them() -> None:
    page = (
        "Two words.\n\n```sh\nsleep 5\n```\n\n| 1 | 2 |\n\n"
        "int4 is <!-- n:x -->0.5<!-- /n --> [of](a7.md) `8`.\n"
    )
    assert counts(page) == (9, 20, 7, 1)


def test_words_around_a_figure_are_free() -> None:
    page = "Any words. <!-- n:quality.seeds -->99<!-- /n --> of\nthem."
    seeds = figures(EXPERIMENTS)["quality.seeds"]
    assert filled(page) == page.replace("99", seeds)


def test_plots_on_pages_are_there_and_none_is_forgotten() -> None:
    shown = {
        (page.parent / picture).resolve()
        for page, text in TEXTS.items()
        for picture in re.findall(r"\]\((\S+?\.png)\)", text)
    }
    drawn = {
        plot_of(file).resolve()
        for file in RESULTS
        if any(file.relative_to(EXPERIMENTS).match(pattern) for pattern in PLOTS)
    }
    assert drawn
    assert drawn <= shown
    assert all(file.is_file() for file in shown)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS, ids=title)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, _, anchor in (
        link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page])
    ):
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


# -- the index of experiments ----------------------------------------------------------------------


@pytest.mark.parametrize("folder", QUESTIONS, ids=title)
def test_every_question_is_in_the_index_and_names_its_files(folder: Path) -> None:
    index = TEXTS[EXPERIMENTS / "README.md"]
    assert f"({folder.name}/README.md)" in index
    own = TEXTS[folder / "README.md"]
    missing = [file.name for file in folder.glob("*.json") if f"`{file.name}`" not in own]
    assert not missing


def test_every_command_of_the_index_exists() -> None:
    named = {
        module
        for page, text in TEXTS.items()
        for module in re.findall(r"python -m ((?:experiments|docs)[\w.]+)", text)
        if page.is_relative_to(EXPERIMENTS) or page.is_relative_to(ROOT / "docs")
    }
    assert len(named) > 10
    files = [ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in named]
    assert not [file for file in files if not file.is_file()]


def test_every_key_of_a_configuration_is_on_its_page() -> None:
    text = config_page.PAGE.read_text(encoding="utf-8")
    assert text == config_page.page(), "make it again: python -m docs.build.config_page"
    assert "| |" not in text  # every key says what it means


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    pytest.importorskip("material", reason="needs the extra [dev]")
    built = tmp_path / "site"
    assert site.build(built) == 0
    for page in ("index.html", "docs/configuration.html", "CONTRIBUTING.html"):
        html = (built / page).read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', html)
        assert not [tag for tag in loaded if 'rel="canonical"' not in tag]
