"""What the suite of the screens is for: a fault that is planted in the app itself turns it red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from android_demo.tools.kotlin import APP

_KOTLIN = "app/src/main/kotlin/org/hydramobile/demo"
_CORE = "core/src/main/kotlin/org/hydramobile"
#: File, what stands there, what is planted in its place.
_FAULTS = (
    # A screen that goes away ends what another one is told.
    (
        f"{_CORE}/screens/Told.kt",
        "    fun set(",
        "    fun clear() = listeners.clear()\n\n    fun set(",
    ),
    (
        f"{_KOTLIN}/SpeedActivity.kt",
        "super.onStop()",
        "super.onStop()\n        demo.chat.told.clear()",
    ),
    # A color without contrast, and a label that is cut.
    ("app/src/main/res/values/styles.xml", "#465154", "#A8B0B2"),
    (
        "app/src/main/res/layout/about_screen.xml",
        'android:text="@string/log_help"',
        'android:text="@string/log_help" android:maxLines="1"',
    ),
    # A file on the thread of the screens.
    (
        f"{_KOTLIN}/MainActivity.kt",
        "super.onStart()",
        'super.onStart()\n        java.io.File(filesDir, "draft.json").length()',
    ),
    # An error on an executor that nobody catches.
    (
        f"{_KOTLIN}/AboutActivity.kt",
        "leaveByArrow()",
        "leaveByArrow()\n        java.util.concurrent.Executors.newSingleThreadExecutor()"
        '.execute { error("planted") }',
    ),
)
#: Test -> what it says of the fault that it finds.
_RED = {
    "ScreensTest#theAnswerIsShownAfterTheSpeedTestWasLeft": ["an answer is to be shown"],
    "ViewsTest#light": ["contrast ", "cut below: "],
    "MainThreadTest#noFileIsTouchedOnTheThreadOfTheScreens": ["MainActivity.kt"],
    "SharingTest#theLogIsCopiedWithoutQuestions": ["planted"],
}
_RUN = """
import sys
from android_demo.tools.framework import suite
from hydra_mobile.core.errors import HydraError
for name in sys.argv[1:]:
    try:
        suite.run([name])
        print("GREEN", name)
    except HydraError as error:
        print("RED", name, error)
    print("====")
"""


# Kotlin is compiled anew, and each test starts the framework: four minutes on two busy cores.
@pytest.mark.slow
def test_what_is_planted_turns_it_red(framework: None, tmp_path: Path) -> None:
    copy = tmp_path / "checkout" / APP.name
    shutil.copytree(APP, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, there, planted in _FAULTS:
        file = copy / name
        text = file.read_text()
        assert text.count(there) == 1, name
        file.write_text(text.replace(there, planted))
    path = os.pathsep.join([str(copy.parent), str(APP.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *_RED],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    said = dict(zip(_RED, done.stdout.split("====\n"), strict=False))
    for name, found in _RED.items():
        assert said[name].startswith(f"RED {name}"), said[name]
        assert [word for word in found if word not in said[name]] == [], said[name]
