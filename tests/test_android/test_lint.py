"""The lint of the app's files: nothing in ours, and every rule finds a planted fault."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from android_demo.tools import lint

DEMO = Path(lint.__file__).parents[1]


def test_the_app_has_no_findings() -> None:
    assert lint.findings(DEMO) == []


#: Rule -> file, a pattern in it, what takes its place.
FAULTS = {
    lint.texts_are_resources: ("app/src/main/res/layout/*.xml", r'text="@string/\w+"', 'text="Hi"'),
    lint.text_grows_with_the_font_size: (
        "app/src/main/res/layout/*.xml",
        r'(<TextView[^>]*layout_height)="wrap_content"',
        r'\1="20dp"',
    ),
    lint.what_is_touched_is_large_enough: (
        "app/src/main/res/layout/*.xml",
        'minHeight="48dp"',
        'minHeight="32dp"',
    ),
    lint.screen_readers_have_a_label: (
        "app/src/main/res/layout/*.xml",
        r'android:contentDescription="@string/\w+"',
        "",
    ),
    lint.colors_are_the_themes: (
        "app/src/main/res/layout/*.xml",
        'android:minHeight="48dp"',
        'android:minHeight="48dp" android:textColor="#ff0000"',
    ),
    lint.themes_come_in_light_and_dark: (
        "app/src/main/res/values-night/styles.xml",
        'name="Demo"',
        'name="Other"',
    ),
    lint.every_text_is_used: (
        "app/src/main/res/values/strings.xml",
        "</resources>",
        '<string name="nobody_shows_this">x</string></resources>',
    ),
    lint.every_screen_is_declared: (
        "app/src/main/AndroidManifest.xml",
        r'android:name="\.\w+Activity"',
        'android:name=".NoActivity"',
    ),
    lint.gradle_builds_the_same_app: ("app/build.gradle.kts", r"minSdk = \d+", "minSdk = 1"),
    lint.every_module_is_included: ("settings.gradle.kts", '":core"', '":no"'),
    lint.the_catalog_has_what_is_named: (
        "gradle/libs.versions.toml",
        r"\[libraries\]\n",
        '[libraries]\nunused = { module = "a:b", version.ref = "kotlin" }\n',
    ),
}


@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_finds_a_planted_fault(rule: lint.Rule, tmp_path: Path) -> None:
    where, pattern, instead = FAULTS[rule]
    demo = tmp_path / "android_demo"
    shutil.copytree(DEMO, demo, ignore=shutil.ignore_patterns("tools", "build"))
    changed = 0
    for file in sorted(demo.glob(where)):
        text, count = re.subn(pattern, instead, file.read_text(), count=1)
        if count:
            file.write_text(text)
            changed += 1
            break
    assert changed, f"{where} has no {pattern}: plant another fault"
    assert list(rule(demo))
