"""README and docs show what the JSON of the experiments says, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.documented_sentences import Sentence, sentences
from experiments.pages import PLOTS, RESULTS, ROOT, pages, render, written

#: Page -> the result files that its marks name.
NAMED = {
    page: names
    for page in pages()
    if (names := re.findall(r"<!-- begin (\S+) -->", page.read_text(encoding="utf-8")))
}
SENTENCES = list(sentences(RESULTS))


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_a_page_shows_what_the_results_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- end -->") == len(NAMED[page])
    assert written(text) == text, "make it again: python -m experiments.pages"


def test_every_measured_comparison_is_on_the_page_of_results() -> None:
    shown = set(NAMED[ROOT / "docs" / "results.md"])
    wanted = {
        file.name
        for file in RESULTS.glob("*.json")
        if file.name.startswith(("quality_", "training_", "inference_", "scaling", "xnnpack_"))
    }
    assert len(wanted) >= 4
    assert wanted <= shown


def test_pictures_on_the_page_of_results_are_there() -> None:
    page = ROOT / "docs" / "results.md"
    pictures = re.findall(r"!\[[^\]]*\]\((\S+?)\)", page.read_text(encoding="utf-8"))
    files = {(page.parent / picture).resolve() for picture in pictures}
    drawn = {
        file.with_suffix(".png").resolve()
        for file in RESULTS.glob("*.json")
        if file.name.startswith(tuple(PLOTS))
    }
    assert drawn <= files
    assert all(file.is_file() for file in files)


def _changed(value: Any) -> Any:
    """Every measured number half as large again, every right answer wrong."""
    if isinstance(value, dict):
        return {key: _changed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_changed(part) for part in value]
    if isinstance(value, str) and set(value) == {"0", "1"}:
        return value.translate(str.maketrans("01", "10"))
    return 1.5 * value if isinstance(value, float) else value


@pytest.mark.parametrize("name", [name for names in NAMED.values() for name in names])
def test_a_changed_result_changes_its_table(name: str, tmp_path: Path) -> None:
    result = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    # Counts of answers are whole numbers and their table has no other.
    changed = json.dumps(_changed(result)).replace('"equal_ids": 118', '"equal_ids": 117')
    (tmp_path / name).write_text(changed)
    mark = f"<!-- begin {name} -->\n<!-- end -->"
    assert written(mark, tmp_path) != written(mark)


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.file)
def test_a_sentence_says_what_was_measured(sentence: Sentence) -> None:
    page = _words((ROOT / sentence.page).read_text(encoding="utf-8"))
    assert _words(sentence.text) in page, f"{sentence.page} should say: {sentence.text}"


def test_a_file_that_nothing_renders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a name that begins with"):
        render(tmp_path / "other.json")
