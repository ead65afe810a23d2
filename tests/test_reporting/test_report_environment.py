import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

from hydra_mobile.core.typed import encode
from hydra_mobile.reporting import environment


def test_collects_this_machine():
    found = environment.collect()
    assert found.kind == "host"
    assert found.python == platform.python_version()
    assert found.cores_logical >= 1
    assert found.memory_bytes > 1e8
    assert "torch" in found.packages
    assert len(found.load_average or (0, 0, 0)) == 3
    assert found.label.endswith(" host")


def test_holds_no_path_and_no_names():
    text = json.dumps(encode(environment.collect()))
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(Path.cwd()) not in text
    assert f'"{getpass.getuser()}"' not in text
    assert platform.node() not in text


def test_imports_nothing_heavy():
    code = (
        "import sys; from hydra_mobile.reporting import environment; environment.collect();"
        "import hydra_mobile.reporting.write, hydra_mobile.cli.report_view;"
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib', 'onnx'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sources_outside_a_checkout_have_no_revision(tmp_path):
    assert environment._git_revision(tmp_path / "environment.py") is None


def test_a_foreign_checkout_is_not_ours(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "environment.py").touch()
    assert environment._git_revision(tmp_path / "environment.py") is None
