"""Commands on disks that are full or read-only: real ones, mounted for the test alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import sys
from pathlib import Path
import torch
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json, write_atomically
from hydra_mobile.core.folders import folder_atomically
from safetensors.torch import save_file
how, out = sys.argv[1], Path(sys.argv[2])
try:
    if how == "file":
        write_json(out, ["x" * 100] * 10_000)
    elif how == "pickle":
        with write_atomically(out) as temporary:
            torch.save(torch.ones(200_000), temporary)
    else:
        with folder_atomically(out, mark=None) as folder:
            save_file({"a": torch.ones(200_000)}, str(folder / "a.safetensors"))
except HydraError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def mounted(options: str, commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run shell commands with a disk of memory at `disk`, in a mount namespace of their own."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("needs a mount namespace (unshare -rm)")
    (folder / "disk").mkdir()
    (folder / "write.py").write_text(WRITE)
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs {options} none disk && {commands}"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHON": sys.executable,
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("how", ["file", "pickle", "folder"])
def test_full_disk_is_told_and_nothing_is_left(how: str, tmp_path: Path) -> None:
    done = mounted(
        "-o size=200k", f"$PYTHON write.py {how} disk/out; echo $?; ls -A disk", tmp_path
    )
    assert done.stdout.split() == ["1"], done
    assert all(word in done.stderr for word in ("DiskError", "disk/out", "full"))


def test_read_only_disk_is_told(tmp_path: Path) -> None:
    done = mounted("-o ro", "$PYTHON write.py folder disk/sub/out", tmp_path)
    assert done.returncode == 1
    assert all(word in done.stderr for word in ("HydraError", "disk/sub"))
    assert "read-only" in done.stderr


def test_mount_point_is_filled_in_place(tmp_path: Path) -> None:
    done = mounted("-o size=2m", "$PYTHON write.py folder disk && ls -A disk", tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["a.safetensors"]), done
