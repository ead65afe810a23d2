"""examples/quickstart.ipynb, cell by cell, in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell.outputs for cell in cells if cell.cell_type == "code" and cell.outputs] == []


@pytest.mark.slow
def test_the_notebook_runs(tiny_base: Path, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    book = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, resources=where).execute()
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    assert any("text/plain" in output.get("data", {}) for output in last.outputs)
    assert (tmp_path / "notebook-output" / "run" / "adapter").is_dir()
