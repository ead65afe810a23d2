"""What the commands that are not run as they are written need, and what tests them instead."""

from __future__ import annotations

import re
from typing import NamedTuple

from documented.commands import Command


class Elsewhere(NamedTuple):
    """A class of commands that a test cannot run here.

    Attributes:
        pattern: regular expression that finds them.
        why: what they need.
        tested: the file that tests the same with what can be had, "" where nothing does.
    """

    pattern: str
    why: str
    tested: str = ""


ELSEWHERE = (
    Elsewhere(r"^git clone ", "the network"),
    Elsewhere(r"^python -m venv ", "the network, for what is installed into it"),
    Elsewhere(r"^pip install ", "the network", "tests/test_documented/test_commands_parsed.py"),
    Elsewhere(r"^adb ", "a phone", "tests/test_devices/test_device_app.py"),
    Elsewhere(r"--device adb", "a phone", "tests/test_devices/test_on_device.py"),
    Elsewhere(
        r"--device native",
        "a C++ compiler and its packages",
        "tests/test_devices/test_native_bundle.py",
    ),
    Elsewhere(r"^hydra-mobile devices setup", "the network", "tests/test_devices/conftest.py"),
    Elsewhere(
        r"^hydra-mobile app (setup|build)",
        "a JDK, Android's tools and the network",
        "tests/test_android/test_app_build_command.py",
    ),
    Elsewhere(r"^(keytool|apksigner) ", "a JDK and an APK", "tests/test_android/test_apk.py"),
    Elsewhere(r"^hydra-mobile app check", "an APK", "tests/test_android/test_apk.py"),
    Elsewhere(
        r"^hydra-mobile app test --screens", "a JDK", "tests/test_android/test_app_screens.py"
    ),
    Elsewhere(r"^hydra-mobile app test$", "a JDK", "tests/test_android/test_core_vectors.py"),
    Elsewhere(r"^hydra-mobile quickstart", "a quarter of an hour", "tests/test_end_to_end.py"),
    Elsewhere(r" --web\b", "a browser", "tests/test_cli/test_chat_page.py"),
    Elsewhere(r"^hydra-mobile (import|compose) ", "the hub", "tests/test_cli/test_original.py"),
    Elsewhere(r"^python -m docs\.build\.pages", "the pages themselves", "tests/test_pages.py"),
)


def elsewhere(command: Command) -> Elsewhere | None:
    """Return the class of a command that is not run, None for all others."""
    text = " ".join(command.words)
    return next((entry for entry in ELSEWHERE if re.search(entry.pattern, text)), None)
