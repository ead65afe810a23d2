from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hydra_export.card.card import CARD, adapter_summary, bundle_card
from hydra_export.export import export_bundle
from hydra_export.targets import Limits, target_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.files import sha256_of, write_json
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator


@pytest.fixture(scope="module")
def onnx_bundle(
    tiny_merged: Path, golden_inputs: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
    return export_bundle(
        tiny_merged,
        target="android",
        runtime="onnx",
        preset="fp32",
        out=tmp_path_factory.mktemp("onnx") / "b",
        golden_inputs=golden_inputs,
        limits=Limits(max_context=80, max_prefill=16),
    ).folder


def python_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found
    return found.group(1)


@pytest.mark.parametrize("which", ["onnx_bundle", "fp32_bundle"])
def test_python_lines_run_as_they_stand(
    which: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only the two paths are filled in; what they print is what the runner answers."""
    folder: Path = request.getfixturevalue(which)
    code = python_of((folder / CARD).read_text())
    Image.new("RGB", (40, 24), (200, 30, 30)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("path/to/this/folder", str(folder)), {})
    printed = capsys.readouterr().out
    generator = Generator(runtime_class(Bundle.open(folder).runtime).load(folder))
    expected = generator.answer(
        "What is in the image?", lambda: Image.open(tmp_path / "picture.png"), max_new_tokens=64
    )
    assert expected.ids
    assert printed == expected.text + "\n"


#: The Python lines of cards that were written before modules had their present names.
EARLIER = """\
from pathlib import Path

from PIL import Image

from hydra_export.bundle import Bundle
from hydra_mobile.evaluation.generation import Generator
from hydra_mobile.evaluation.runners import runner_class

folder = Path("path/to/this/folder")
runner = runner_class(Bundle.open(folder).runtime).load(folder)
generator = Generator(runner)
answer = generator.answer("What is in the image?", lambda: Image.open("picture.png"))
print(answer.text)
"""


def test_lines_of_earlier_cards_run(
    onnx_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (40, 24), (200, 30, 30)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    exec(EARLIER.replace("path/to/this/folder", str(onnx_bundle)), {})
    assert capsys.readouterr().out.strip()


def test_card_says_what_the_manifest_says(onnx_bundle: Path, tiny_merged: Path) -> None:
    manifest = json.loads((onnx_bundle / MANIFEST).read_text())
    card = (onnx_bundle / CARD).read_text()
    for words in (
        "# `tiny` for ONNX Runtime, preset fp32",
        sha256_of(tiny_merged / "model.safetensors"),
        "Adapter: none was merged",
        "Nothing fell back",
        "The cache holds 80 tokens, an image is 4 of them",
        "at most 16 tokens",
        "before: '<|im_start|>user\\n'",
        "padded to a square with the mean color",
        "32 x 32 pixels (bicubic)",
        "hydra-mobile verify",
        "Random weights made by hydra-mobile",
        f"token id {manifest['stop_ids'][0]}.",
    ):
        assert words in card
    # Whoever publishes a bundle may edit the card: the bundle stays whole.
    assert CARD not in manifest["files"]
    assert len(card.splitlines()) < 220


@pytest.mark.parametrize("runtime", ["executorch", "onnx", "coreml"])
def test_code_is_filled_in_for_every_runtime(onnx_bundle: Path, runtime: str) -> None:
    manifest = json.loads((onnx_bundle / MANIFEST).read_text()) | {"runtime": runtime}
    found = target_of(manifest).snippets(manifest)
    languages = {"Swift", *(["Kotlin"] if runtime != "coreml" else [])}
    own = {name for name in found if name.endswith("ExecuTorch's own runner")}
    assert {name.partition(",")[0] for name in found if name not in own} == languages
    assert len(own) == (3 if runtime == "executorch" else 0)
    stop = manifest["stop_ids"][0]
    for name, code in found.items():
        assert "$$" not in code
        assert not re.search(r"\$(image|hidden|stops|program|vision|context)\b", code)
        assert str(stop) in code or name in own
    card = bundle_card(manifest)
    compiled = sum(not name.startswith("Python") for name in found)
    assert card.count("Not compiled here") == compiled


def test_names_in_the_onnx_code_are_those_of_the_graphs(onnx_bundle: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    import numpy as np

    bundle = Bundle.open(onnx_bundle)
    shapes = bundle.shapes
    decoder = ort.InferenceSession(str(bundle.file("text_decoder")))
    # As the Kotlin lines call it: no cache at first, then what came out.
    past = {
        f"past_key_values.{i}.{part}": np.zeros(
            (1, shapes["kv_heads"], 0, shapes["head_dim"]), np.float32
        )
        for i in range(shapes["layers"])
        for part in ("key", "value")
    }
    runner = runtime_class("onnx").load(onnx_bundle)
    ids = [5, 80, 17, 200, 3]
    x = runner.embed(ids)
    names = [value.name for value in decoder.get_outputs()]
    for start, stop in ((0, 3), (3, 4), (4, 5)):
        out = dict(
            zip(
                names,
                decoder.run(
                    None,
                    past
                    | {
                        "inputs_embeds": x[:, start:stop],
                        "attention_mask": np.ones((1, stop), np.int64),
                        "position_ids": np.arange(start, stop, dtype=np.int64)[None],
                    },
                ),
                strict=True,
            )
        )
        past = {name: out[name.replace("past_key_values", "present")] for name in past}
    from hydra_mobile.runtimes.base import CacheState

    expected, _ = runner.decode(x, CacheState())
    np.testing.assert_allclose(out["logits"].reshape(-1), expected, atol=1e-4)


def test_adapter_is_told_with_ranks_while_they_are_its_own(
    tmp_path: Path, onnx_bundle: Path
) -> None:
    merged, adapter = tmp_path / "merged", tmp_path / "adapter"
    merged.mkdir()
    adapter.mkdir()
    assert adapter_summary(merged) is None
    files = {"adapter_model.safetensors": "abc"}
    write_json(
        merged / "merge.json",
        {
            "sources": {"adapter_files": files},
            "lora_parameters": 1234,
            "merged": ["a", "b", "c"],
            "replaced": ["p"],
        },
    )
    ranks = {"a": 4, "b": 8, "c": 4}
    write_json(adapter / "hydra.json", {"files": files, "ranks": ranks})
    summary = adapter_summary(merged)
    assert summary is not None
    assert summary["ranks"] == {4: 2, 8: 1}
    manifest = json.loads((onnx_bundle / MANIFEST).read_text())
    manifest["fallbacks"] = ["head: fell"]
    card = bundle_card(manifest, summary)
    assert "1,234 LoRA parameters" in card
    assert "4: 2, 8: 1" in card
    assert "- head: fell" in card
    # Trained again since: its ranks are another adapter's.
    write_json(adapter / "hydra.json", {"files": {"x": "y"}, "ranks": ranks})
    assert "ranks" not in (adapter_summary(merged) or {})
    shutil.rmtree(adapter)
    assert "ranks" not in (adapter_summary(merged) or {})
