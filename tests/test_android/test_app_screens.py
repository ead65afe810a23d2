"""The app's screens on Android 14's own framework code, in one JVM."""

from __future__ import annotations

import itertools
import lzma
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tapped import generators_of, write_tapped

from android_demo.tools.desktop import libraries
from android_demo.tools.framework import jars, packs, suite
from android_demo.tools.vector_bundle import QUESTION, made_picture
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.measurement.run import read_result
from hydra_mobile.measurement.table import comparison

#: Fewer would mean that a filter has left tests out.
MOST_OF_THEM = 100


# A minute on one core, once the app is compiled: one JVM, in which every scenario is driven.
def test_the_screens(
    native_libraries: Path, app_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    shared, real = tmp_path / "shared.json", tmp_path / "real"
    # From the tap to the text, on both of the app's runtimes: what Python answers is on the screen.
    bundles = {runtime: app_bundle(runtime) for runtime in ("onnx", "executorch")}
    write_tapped(real, bundles, generators_of(bundles), made_picture(3), QUESTION)
    outcome = suite.run(
        properties={
            "hydra.shared": str(shared),
            "hydra.real": str(real),
            **libraries.properties(native_libraries),
        },
        environment=libraries.environment(native_libraries),
    )
    assert set(outcome.tests) == set(suite.test_classes())
    assert sum(outcome.tests.values()) > MOST_OF_THEM
    # What the speed test shares is what `bench --against` reads.
    result = read_result(shared)
    (line,) = comparison(result, result)
    assert "decode" in line
    assert "1.00x" in line


@pytest.mark.slow
def test_the_screens_in_every_state_and_condition(framework: None) -> None:
    assert sum(suite.run(slow=True).tests.values()) > 0


def test_the_table_names_every_scenario() -> None:
    table = (suite.SOURCES.parent / "README.md").read_text()
    files = [file.read_text() for file in suite.SOURCES.rglob("*Test.kt")]
    written = [re.findall(r"@Test\b.*?fun (\w+)\(", text, re.DOTALL) for text in files]
    assert sorted(re.findall(r"\| `(\w+)` \|", table)) == sorted(itertools.chain(*written))


def _pack(path: Path, *records: tuple[int, bytes]) -> None:
    with lzma.open(path, "wb") as out:
        for kind, content in records:
            out.write(struct.pack(">BI", kind, len(content)) + content)


def test_a_pack_gives_back_its_jars_byte_for_byte(tmp_path: Path) -> None:
    text = b"class " * 500
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8)
    deflated = packer.compress(text) + packer.flush()
    pack = tmp_path / "a.pack.xz"
    _pack(pack, (255, b"one.jar"), (0, b"PK"), (6, text), (255, b"two.jar"), (0, b"rest"))
    packs.restore(pack, tmp_path, {"one.jar"})
    assert (tmp_path / "one.jar").read_bytes() == b"PK" + deflated
    assert not (tmp_path / "two.jar").exists()


def test_a_pack_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    pack = tmp_path / "a.pack.xz"
    _pack(pack, (255, b"one.jar"), (0, b"x" * 1000))
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-30])
    with pytest.raises(ArtifactError, match=r"a\.pack\.xz"):
        packs.restore(pack, tmp_path, {"one.jar"})


def test_a_jar_that_was_altered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = jars.pinned()
    assert all(len(jar.sha256) == len(jar.published) == 64 for jar in pinned)
    for jar in pinned:
        (tmp_path / jar.file).write_bytes(b"another")
    monkeypatch.setenv(jars.VARIABLE, str(tmp_path))
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    jars.jars.cache_clear()
    with pytest.raises(ArtifactError, match=pinned[0].file):
        jars.jars()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(jars.VARIABLE, str(tmp_path))
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    assert jars.VARIABLE in str(jars.missing())
    monkeypatch.delenv(jars.VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "maven" in str(jars.missing())
