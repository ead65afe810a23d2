"""One fault in one model of the chain: the suite fails at that step and part, and only there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import edited_manifest
from numpy.typing import NDArray
from parity_chain import ONE, PARTS, TWO, Chain, export
from PIL import Image
from safetensors.numpy import load_file, save_file
from test_golden_replay import respoil

from hydra_mobile.core.errors import ParityError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import PROCESSOR_FILE
from hydra_mobile.parity.suite import ParityResult, run_suite
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.runtimes.torch import TorchRuntime

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
from hydra_mobile.runtimes.onnx import OnnxRuntime  # noqa: E402 (needs onnxruntime)


def broken(ladder: ParityResult) -> dict[str, tuple[str, ...]]:
    """Return the failing parts of each failing rung; `whole` follows and is not asked for."""
    for rung in ladder.comparisons:
        assert tuple(part.part for part in rung.parts) == PARTS
        whole = rung.parts[-1]
        # What breaks by itself breaks the answer, but for ids, which the reference gives.
        assert rung.passed == (not rung.broken and whole.status == "pass")
    return {rung.name: rung.broken for rung in ladder.comparisons if not rung.passed}


def flip(path: Path, chosen: Callable[[str, tuple[int, ...]], bool]) -> None:
    """Turn the sign of the largest value of the first ONNX weight that is chosen."""
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if chosen(t.name, tuple(t.dims)))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[np.abs(values).argmax()] *= -1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_sound_chain_holds_on_every_rung(sound_chain: Chain) -> None:
    lines: list[str] = []
    ladder = sound_chain.run_suite(log=lines.append)
    assert [rung.name for rung in ladder.comparisons] == [ONE, TWO]
    assert ladder.passed, ladder.table()
    assert broken(ladder) == {}
    ladder.require()
    one, two = ladder.comparisons
    assert [p.status for p in one.parts] == ["pass"] * 7
    absent = [p for p in two.parts if p.status == "absent"]
    assert [p.part for p in absent] == ["vision"]
    assert "one graph" in absent[0].note
    decoder = one.parts[4]
    assert decoder.max_abs is not None
    assert 0 < decoder.max_abs < 1e-3
    assert one.parts[5].greedy == one.parts[5].tokens
    stored = json.loads(json.dumps(ladder.to_dict()))
    assert stored["passed"] is True
    assert [rung["rung"] for rung in stored["rungs"]] == [ONE, TWO]
    assert "loading merged" in lines


def test_the_adapter_is_no_other_name_for_the_base(sound_chain: Chain, tiny_base: Path) -> None:
    """Or a merge that does nothing would run_suite every rung."""
    adapted, plain = TorchRuntime.load(sound_chain.adapter), TorchRuntime.load(tiny_base)
    logits = [r.decode(r.embed([5, 6, 7]), CacheState())[0] for r in (adapted, plain)]
    assert np.abs(logits[0] - logits[1]).max() > 0.1


class TestAdapterAndMerged:
    """Comparison 1; the program was made from the merged model, so rung 2 stays green."""

    def test_a_flipped_weight_of_the_merged_model(
        self, chain: Chain, golden_inputs: Any, tmp_path: Path
    ) -> None:
        path = chain.merged / "model.safetensors"
        tensors = load_file(path)
        weight = tensors["language_model.model.layers.1.mlp.down_proj.weight"]
        weight.reshape(-1)[np.abs(weight).argmax()] *= -1
        save_file(tensors, path, metadata={"format": "pt"})
        edit(chain.merged / "merge.json", lambda m: m["files"].update({path.name: sha256_of(path)}))
        bundle = export(chain.merged, tmp_path / "new", golden_inputs)
        found = broken(run_suite(bundle, adapter=chain.adapter, merged=chain.merged))
        assert set(found) == {ONE}
        assert found[ONE][0] == "decoder"

    def test_a_wrong_rank_scale(self, chain: Chain) -> None:
        edit(chain.adapter / "adapter_config.json", lambda c: c.update(lora_alpha=16))
        digest = {"adapter_config.json": sha256_of(chain.adapter / "adapter_config.json")}
        edit(chain.adapter / "hydra.json", lambda r: r.update(alpha_ref=16))
        edit(chain.adapter / "hydra.json", lambda r: r["files"].update(digest))
        record = chain.merged / "merge.json"
        edit(record, lambda m: m["sources"]["adapter_files"].update(digest))
        ladder = chain.run_suite()
        found = broken(ladder)
        assert set(found) == {ONE}
        assert found[ONE][0] == "decoder"
        with pytest.raises(ParityError, match=r"adapter.*merged.*decoder") as error:
            ladder.require()
        assert error.value.exit_code == 3

    def test_a_projector_that_was_not_merged(self, chain: Chain) -> None:
        path = chain.adapter / "projector.safetensors"
        tensors = load_file(path)
        name = next(name for name in tensors if tensors[name].ndim == 2)
        tensors[name] = tensors[name] / np.float32(1.5)
        save_file(tensors, path)
        for folder, at in ((chain.adapter, "files"), (chain.merged, "sources")):
            record = folder / ("hydra.json" if at == "files" else "merge.json")

            def seal(value: dict[str, Any], at: str = at) -> None:
                files = value["files"] if at == "files" else value["sources"]["adapter_files"]
                files[path.name] = sha256_of(path)

            edit(record, seal)
        assert broken(chain.run_suite()) == {ONE: ("projector",)}

    def test_a_shifted_template(self, chain: Chain) -> None:
        recipe = json.loads((chain.merged / PROCESSOR_FILE).read_text())
        recipe["template"]["user_suffix"] += "\n"
        (chain.adapter / PROCESSOR_FILE).write_text(json.dumps(recipe))
        assert broken(chain.run_suite()) == {ONE: ("prompt",)}


class TestMergedAndProgram:
    """Comparison 2; the adapter and the merged model stay equal."""

    def test_a_flipped_weight_of_the_decoder(self, chain: Chain) -> None:
        respoil(
            chain.bundle,
            "decoder_model_merged.onnx",
            lambda path: flip(path, lambda _, dims: sorted(dims) == [64, 160]),
        )
        found = broken(chain.run_suite())
        assert set(found) == {TWO}
        assert found[TWO][0] == "decoder"

    def test_a_flipped_weight_of_the_vision_encoder(self, chain: Chain) -> None:
        respoil(
            chain.bundle,
            "vision_encoder.onnx",
            lambda path: flip(path, lambda _, dims: len(dims) > 1 and np.prod(dims) > 1000),
        )
        assert broken(chain.run_suite()) == {TWO: ("projector",)}
        assert broken(run_suite(chain.bundle)) == {
            "merged (golden vectors) → ONNX Runtime fp32": ("projector",)
        }

    def test_swapped_channels(self, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        class Swapped(ImagePreprocessing):
            def __call__(self, image: Image.Image) -> NDArray[np.float32]:
                return super().__call__(image)[::-1].copy()

        load = OnnxRuntime.load.__func__  # type: ignore[attr-defined]

        def swapped(cls: type[OnnxRuntime], path: Path, *, threads: int = 0) -> OnnxRuntime:
            runner: OnnxRuntime = load(cls, path, threads=threads)
            runner.processor.image = Swapped(**vars(runner.processor.image))
            return runner

        monkeypatch.setattr(OnnxRuntime, "load", classmethod(swapped))
        assert broken(chain.run_suite()) == {TWO: ("preprocessing",)}
        assert run_suite(chain.bundle).comparisons[0].broken == ("preprocessing",)

    def test_a_stale_cache_position(self, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        decode = OnnxRuntime.decode

        def stale(self: OnnxRuntime, embeddings: Any, state: CacheState) -> Any:
            logits, after = decode(self, embeddings, state)
            return logits, state if embeddings.shape[1] == 1 and state.length else after

        monkeypatch.setattr(OnnxRuntime, "decode", stale)
        assert broken(chain.run_suite()) == {TWO: ("greedy",)}

    def test_a_shifted_template(self, chain: Chain) -> None:
        with edited_manifest(chain.bundle) as manifest:
            manifest["template"]["answer_prefix"] += " "
        ladder = chain.run_suite()
        assert broken(ladder) == {TWO: ("prompt",)}
        prompt = ladder.comparisons[1].parts[1]
        assert "ids behind the image" in prompt.note


@pytest.mark.slow  # another export: 17 s
def test_a_flipped_weight_of_an_executorch_program(
    sound_chain: Chain, golden_inputs: Any, tmp_path: Path
) -> None:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    bundle = export(sound_chain.merged, tmp_path / "b", golden_inputs, runtime="executorch")
    name = "merged → ExecuTorch fp32"
    given = {"adapter": sound_chain.adapter, "merged": sound_chain.merged}
    assert run_suite(bundle, **given).passed
    tensors = load_file(sound_chain.merged / "model.safetensors")
    golden = json.loads((bundle / "golden.json").read_text())
    # A row of the table that the prompt reads.
    row = tensors["language_model.model.embed_tokens.weight"][golden["cases"][0]["after"][-1]]
    wrong = row.copy()
    wrong[np.abs(row).argmax()] *= -1

    def flip_row(path: Path) -> None:
        data = path.read_bytes()
        assert row.tobytes() in data
        path.write_bytes(data.replace(row.tobytes(), wrong.tobytes()))

    respoil(bundle, "model.pte", flip_row)
    found = broken(run_suite(bundle, **given))
    assert set(found) == {name}
    assert found[name][0] == "decoder"
