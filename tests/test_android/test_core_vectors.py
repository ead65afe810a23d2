"""The app's core computes what Python computes: vectors written here, read by tests in a JVM."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from android_demo.tools import code_points, composition, jvm, vector_texts, vectors
from android_demo.tools.vector_bundle import write_bundle
from hydra_mobile.core.errors import HydraError
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.preprocessing import ImagePreprocessing

CORE = Path(__file__).parents[2] / "android_demo" / "core"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors")
    vectors.write_vectors(out, bases=("tiny",), strings=300)
    return out


def test_the_table_of_code_points_is_of_this_version_of_tokenizers():
    table = CORE / "src/main/kotlin/org/hydramobile/core/CodePointTables.kt"
    assert table.read_text(encoding="utf-8") == code_points.kotlin(), (
        "write it again: python -m android_demo.tools.code_points CodePointTables.kt"
    )


def test_the_table_of_compositions_is_of_this_version_of_tokenizers():
    table = CORE / "src/main/kotlin/org/hydramobile/core/CompositionTables.kt"
    assert table.read_text(encoding="utf-8") == composition.kotlin(), (
        "write it again: python -m android_demo.tools.composition CompositionTables.kt"
    )


def test_strings_are_the_same_each_time_and_of_every_kind():
    found = list(vector_texts.samples(10_000))
    assert found == list(vector_texts.samples(10_000))
    assert len({sample.text for sample in found}) > 9_000
    damaged = [s for s in found if isinstance(s.raw, bytes) and "\ufffd" in s.text]
    halves = [s for s in found if isinstance(s.raw, str) and s.raw != s.text]
    assert len(damaged) > 300
    assert len(halves) > 300
    text = "".join(sample.text for sample in found)
    for piece in (
        "\u200d",
        "🇩🇪",
        "👍🏽",
        "日本語",
        "שלום",
        "\u0301",
        "\0",
        "   ",
        "<|im_end|",
        "𠀀",
    ):
        assert piece in text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
    ],
)
def test_half_surrogate_pairs(raw: str, text: str):
    assert vector_texts.proper(raw) == text


def test_vectors_are_the_same_bytes_each_time(small: Path, tmp_path: Path):
    vectors.write_vectors(tmp_path, bases=("tiny",), strings=300)
    names = sorted(str(path.relative_to(small)) for path in small.rglob("*") if path.is_file())
    assert len(names) > 300
    for name in names:
        assert (tmp_path / name).read_bytes() == (small / name).read_bytes(), name


def test_pixels_belong_to_their_pictures(small: Path):
    folder = small / "pictures"
    entries = json.loads((folder / "pictures.json").read_text())
    modes = {Image.open(folder / entry["png"]).mode for entry in entries}
    assert modes == {"RGB", "RGBA", "P"}
    for entry in entries[:20]:
        recipe = ImagePreprocessing.from_dict(entry["recipe"], "entry")
        pixels = recipe(open_picture(folder / entry["png"]))
        written = np.fromfile(folder / entry["pixels"], "<f4").reshape(pixels.shape)
        np.testing.assert_array_equal(written, pixels)


@pytest.mark.slow  # the compiler takes most of a minute
def test_core_in_a_jvm(tmp_path: Path, tiny_base: Path, compiler_cache: Path):
    if missing := jvm.missing():
        pytest.skip(missing)
    # Real merges where they are at hand; nothing is fetched for a test.
    smol = compiler_cache / "bases" / "smol"
    bases = ("tiny", str(smol)) if (smol / "config.json").is_file() else ("tiny",)
    vectors.write_vectors(tmp_path / "vectors", bases=bases)
    properties = {"hydra.vectors": str(tmp_path / "vectors")}
    if importlib.util.find_spec("onnxruntime"):
        properties["hydra.bundle"] = str(write_bundle(tmp_path / "bundle"))
    jvm.run_jvm_tests("core", properties=properties)


@pytest.mark.slow
def test_a_test_that_fails_or_crashes_is_told(
    compiler_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if missing := jvm.missing():
        pytest.skip(missing)
    for part in ("main", "test"):
        (tmp_path / "made" / "src" / part / "kotlin").mkdir(parents=True)
    (tmp_path / "made/src/main/kotlin/Two.kt").write_text("internal fun two() = 2\n")
    test = tmp_path / "made/src/test/kotlin/TwoTest.kt"
    monkeypatch.setattr(jvm, "APP", tmp_path)
    body = "import org.junit.Test\n\nclass TwoTest {{ @Test fun isTwo() {{ {} }} }}\n"
    test.write_text(body.format("check(two() == 2)"))
    jvm.run_jvm_tests("made")
    test.write_text(body.format('check(two() == 3) { "two is " + two() }'))
    with pytest.raises(HydraError, match=r"(?s)code 1.*two is 2"):
        jvm.run_jvm_tests("made")
    test.write_text(body.format("Runtime.getRuntime().halt(139)"))
    with pytest.raises(HydraError, match="139"):
        jvm.run_jvm_tests("made")
