"""The public names of `import hydra_mobile`: pinned, documented, and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hydra_mobile as hm
from docs.build.python_page import PAGE, filled

ROOT = Path(__file__).parents[2]
PUBLIC = {
    *("train", "dry_run", "replay", "merge", "export", "add_adapter", "verify", "load"),
    *("evaluate", "side_by_side", "score", "bench", "estimate", "check_data"),
    *("fetch", "import_model", "compose", "convert", "push"),
    *("Run", "RankRecord", "Bundle", "ParityResult", "Model", "Answer", "PhoneMemory", "Report"),
    *("Measurements", "Pushed", "TrainConfig", "RankMap", "Hydra", "HydraCallback", "HydraError"),
    "__version__",
}
HEAVY = {"torch", "transformers", "peft", "numpy", "PIL", "yaml", "onnx", "rich", "tokenizers"}


def test_the_public_names_are_these():
    assert set(hm.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_there_and_says_what_it_is(name):
    found = getattr(hm, name)
    assert inspect.getdoc(found)
    assert name in dir(hm)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
        assert signature.return_annotation is not signature.empty


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="trian"):
        hm.trian  # noqa: B018


def test_importing_it_imports_nothing_heavy():
    code = "import sys, hydra_mobile; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_type_checkers_see_signatures(tmp_path):
    # py.typed is in the package, and the lazy names are imports to a type checker.
    assert (Path(hm.__file__).parent / "py.typed").is_file()
    tree = Path(hm.__file__).read_text()
    typed = tree.partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    missing = [name for name in PUBLIC - {"__version__"} if name not in typed]
    assert not missing


def test_the_page_has_the_reference_of_this_version():
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "make it again: python -m docs.build.python_page"


@pytest.mark.slow
def test_importing_all_of_it_says_nothing():
    code = "import hydra_mobile as hm\nfor name in hm.__all__: getattr(hm, name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
