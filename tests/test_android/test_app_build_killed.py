"""`app build`, killed at its changes to the disk: what a stage made stays, nothing is left over.

Compiling takes minutes, so that one workspace is killed again and again, each time a few changes
further on, instead of one from the beginning for each kill.
"""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path

import pytest
from killed import TEMPORARY, Commands

from android_demo.tools import tools
from hydra_mobile.core.temporary import is_temporary

pytestmark = pytest.mark.slow  # minutes: compiles the app

#: Of one runtime and processor, which is what takes the least time.
WORDS = ("app", "build", "--runtimes", "onnx", "--abi", "x86_64", "--out", "app.apk")
#: Changes between two kills at first; a stage that makes more gets twice as many each time.
STEP = 24


def contents(apk: Path) -> dict[str, int]:
    """Return the CRC of every entry; the signature, which has a time in it, is beside them."""
    with zipfile.ZipFile(apk) as entries:
        assert entries.testzip() is None
        return {info.filename: info.CRC for info in entries.infolist()}


def test_an_app_that_was_killed_in_every_stage_is_built(
    tmp_path: Path, real_home: str | None, compiler_cache: Path
) -> None:
    if tools.missing_packages():
        pytest.skip(f"not installed: {', '.join(tools.missing_packages())}")
    folder = tmp_path / "w"
    home = folder / "home"
    (folder / TEMPORARY).mkdir(parents=True)
    for shelf in ("npm", "wheels"):
        (home / shelf).mkdir(parents=True)
        for file in (compiler_cache / shelf).iterdir():
            (home / shelf / file.name).symlink_to(file)
    commands = Commands(folder, home)

    def complete() -> set[str]:
        names = (path.name for path in (home / "android").glob("*"))
        return {name for name in names if not is_temporary(name)}

    kills, step, stages = 0, STEP, set[str]()
    while True:
        ended = commands.run(WORDS, step)
        if ended.code == 0:
            break
        assert ended.code == -9, ended.said
        kills += 1
        assert not (folder / "app.apk").exists()
        assert stages <= complete(), "a stage that was complete is gone"
        step = STEP if complete() > stages else 2 * step
        stages = complete()
    whole = contents(folder / "app.apk")

    # Killed over an older app: that or the new one is there.
    for at in (2, ended.changes // 2, ended.changes - 2, ended.changes):
        again = commands.run(WORDS, at)
        kills += again.code == -9
        assert contents(folder / "app.apk") == whole
    for number in (signal.SIGINT, signal.SIGTERM):
        stopped = commands.run(WORDS, ended.changes // 2, number)
        assert stopped.code == 128 + number, stopped.said
        assert "To go on:" in stopped.said
        assert "Traceback" not in stopped.said
        assert contents(folder / "app.apk") == whole

    ended = commands.run(WORDS)
    assert ended.code == 0, ended.said
    commands.close()
    left = [str(p.relative_to(folder)) for p in folder.rglob("*") if is_temporary(p.name)]
    # torch makes a cache of its own there, which it keeps.
    left += [p.name for p in (folder / TEMPORARY).iterdir() if "torchinductor" not in p.name]
    print(f"\n| app build | {kills} kills | 0 lost | {left} left over |")
    assert not left
    assert contents(folder / "app.apk") == whole
    assert kills >= 8
