"""Folders replace only their own kind, whole, and nothing is left of writers that were killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from hydra_mobile.core import folders
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.folders import Mark, folder_atomically, recorded, recover
from hydra_mobile.core.locks import exclusive
from hydra_mobile.core.temporary import working_folder

MARK = Mark("record.json", "a thing")


def write(path: Path, text: str, mark: Mark | None = MARK) -> None:
    with folder_atomically(path, mark=mark) as folder:
        (folder / "record.json").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_older_folder_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "stale").write_text("")
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "sub" / "data").read_text() == "new"
    assert names(tmp_path / "out") == ["record.json", "sub"]
    assert names(tmp_path) == ["out"]


def test_without_an_exchange_the_older_folder_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "sub" / "data").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_files_of_others_in_a_folder_of_ours_are_not_replaced_with_it(tmp_path: Path) -> None:
    mark = Mark("record.json", "a thing", contents=recorded("record.json", "sub/data", "README.md"))
    record = '{"files": {"sub/data": "0"}}'
    write(tmp_path / "out", record, mark)
    for name in ("README.md", ".DS_Store"):
        (tmp_path / "out" / name).write_text("")
    write(tmp_path / "out", record, mark)
    (tmp_path / "out" / "bundle").mkdir()
    (tmp_path / "out" / "bundle" / "thesis.txt").write_text("precious")
    with pytest.raises(ArtifactError, match=r"a thing with 1 other.*bundle"):
        write(tmp_path / "out", record, mark)
    assert (tmp_path / "out" / "bundle" / "thesis.txt").read_text() == "precious"
    # A record that does not name them, as earlier versions wrote: nothing can be told.
    (tmp_path / "out" / "record.json").write_text('{"files": {}}')
    write(tmp_path / "out", record, mark)


def test_foreign_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(ArtifactError, match=r"out.*thesis\.txt"):
        write(tmp_path / "out", "new")
    assert names(tmp_path / "out") == ["thesis.txt"]
    assert names(tmp_path) == ["out"]


def test_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(ArtifactError, match="out"):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "precious"


def test_what_came_while_it_was_filled_is_kept(tmp_path: Path) -> None:
    def meanwhile() -> None:
        with folder_atomically(tmp_path / "out", mark=MARK) as folder:
            (folder / "record.json").write_text("new")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "note").write_text("precious")

    with pytest.raises(ArtifactError, match="note"):
        meanwhile()
    assert names(tmp_path / "out") == ["note"]
    assert names(tmp_path) == ["out"]


def test_file_in_the_middle_of_the_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HydraError, match="file"):
        write(tmp_path / "file" / "out", "new")


def test_working_directory_is_filled_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(), "old")
    write(Path(), "new")
    assert (tmp_path / "sub" / "data").read_text() == "new"
    assert names(tmp_path) == ["record.json", "sub"]


def test_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "record.json").read_text() == "new"


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(Path("~/out"), "new")
    assert (tmp_path / "out" / "record.json").is_file()


@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"),
    [(0o22, 0o644, 0o755), (0o77, 0o600, 0o700), (0o2, 0o664, 0o775)],
)
def test_permissions_follow_the_umask(
    tmp_path: Path, umask: int, file_mode: int, folder_mode: int
) -> None:
    before = os.umask(umask)
    try:
        with folder_atomically(tmp_path / "out", mark=None) as folder:
            (folder / "private").write_text("")
            (folder / "private").chmod(0o600)
            (folder / "program").write_text("")
            (folder / "program").chmod(0o700)
        with write_atomically(tmp_path / "file") as temporary:
            temporary.write_text("")
            temporary.chmod(0o600)
    finally:
        os.umask(before)

    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    assert mode(tmp_path / "out") == folder_mode
    assert mode(tmp_path / "out" / "private") == mode(tmp_path / "file") == file_mode
    assert mode(tmp_path / "out" / "program") == file_mode | (folder_mode & 0o111)


KILLED = """
    import os, pathlib, signal, sys
    from hydra_mobile.core import folders, temporary
    stage, out = sys.argv[1], pathlib.Path(sys.argv[2])
    def kill(): os.kill(os.getpid(), signal.SIGKILL)
    if stage != "exchange": folders._exchange = lambda one, other: False
    real = pathlib.Path.rename
    count = 0
    def rename(self, target):
        global count
        if stage == f"before-{count}": kill()
        done = real(self, target)
        count += 1
        if stage == f"after-{count}": kill()
        return done
    pathlib.Path.rename = rename
    with folders.folder_atomically(out, mark=folders.Mark("record.json", "a thing")) as folder:
        (folder / "record.json").write_text("new")
        if stage == "filling": kill()
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_text("new")
    if stage == "exchange": kill()
"""


def killed(stage: str, out: Path, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), stage, str(out)],
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL


def whole(out: Path) -> str:
    text = (out / "record.json").read_text()
    assert (out / "sub" / "data").read_text() == text
    return text


@pytest.mark.parametrize("stage", ["filling", "before-0", "after-1", "before-1", "after-2"])
def test_kill_at_any_stage_loses_nothing_and_leaves_nothing(tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    write(out, "old")
    killed(stage, out, tmp_path)
    assert recover(out)
    assert whole(out) in ("old", "new")
    write(out, "newest")
    assert whole(out) == "newest"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "stage", ["filling", "after-1", "after-2", "after-3", "after-4", "before-4"]
)
def test_kill_while_filling_in_place_loses_nothing(tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out"
    write(out, "old")
    killed(stage, Path(), out)
    before = Path.cwd()
    os.chdir(out)
    try:
        # The next writer ends or undoes it before it begins.
        with folder_atomically(Path(), mark=MARK) as folder:
            assert whole(out) in ("old", "new")
            (folder / "record.json").write_text("next")
            (folder / "sub").mkdir()
            (folder / "sub" / "data").write_text("next")
        assert whole(out) == "next"
        write(Path(), "newest")
    finally:
        os.chdir(before)
    assert whole(out) == "newest"
    assert names(out) == ["record.json", "sub"]


def test_temporary_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with folder_atomically(tmp_path / "one", mark=None) as folder:
        write(tmp_path / "two", "new")
        assert folder.is_dir()
    assert names(tmp_path) == ["one", "two"]


def test_names_that_are_not_exactly_ours_are_left_alone(tmp_path: Path) -> None:
    kept = [".out.new", ".out.abc.tmp", ".DS_Store", ".out.01234567-1-01234567.new.txt"]
    for name in kept:
        (tmp_path / name).write_text("")
    write(tmp_path / "out", "new")
    assert names(tmp_path) == sorted([*kept, "out"])


def test_second_writer_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", "The run r"),
        pytest.raises(HydraError, match=rf"process {os.getpid()}.* \d"),
        exclusive(tmp_path / "lock", "The run r"),
    ):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EBUSY, errno.EIO])
def test_what_the_system_refuses_is_told_with_the_path(tmp_path: Path, number: int) -> None:
    def refused() -> None:
        with folder_atomically(tmp_path / "out", mark=None) as folder:
            raise OSError(number, os.strerror(number), str(folder / "x"))

    with pytest.raises(HydraError, match="out"):
        refused()
    assert names(tmp_path) == []


def test_a_place_where_no_folder_can_be_made_is_told() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    with pytest.raises(HydraError, match="nohome"):
        write(Path("/proc/nohome/out"), "new")
    with pytest.raises(HydraError, match="nohome"), write_atomically(Path("/proc/nohome/file")):
        pass


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("mine")
    (tmp_path / ".out.writing.lock").symlink_to(tmp_path / "diary")
    with (
        pytest.raises(HydraError, match=r"out\.writing\.lock"),
        folder_atomically(tmp_path / "out", mark=None),
    ):
        pass
    assert (tmp_path / "diary").read_text() == "mine"


def test_intermediate_files_of_a_killed_process_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
        import os, signal
        from hydra_mobile.core.temporary import working_folder
        with working_folder("work") as folder:
            (folder / "secret").write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o077 == 0
    with working_folder("other") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert not list(tmp_path.iterdir())
