"""An adapter in a file of its own: a base program, two adapters of other ranks, swapped on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_bases import clip_model, write_clip_base
from damage import negate_a_weight
from manifests import edited_manifest
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from hydra_export import separate_adapter as adapter_file_bundle
from hydra_export.export import export_bundle
from hydra_export.separate_adapter import SeparateAdapter, add_adapter
from hydra_export.targets import Limits
from hydra_export.targets.onnx.encoders import projector_tensors, write_vision_encoder
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import read_adapter, save_adapter
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.lora_file import (
    AdapterFiles,
    adapter_tensors,
    read_adapter_file,
    write_adapter_file,
)
from hydra_mobile.bundle.lora_manifest import split_selection
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.presets import preset_named
from hydra_mobile.cli.main import app
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.loading import load_model
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.runtimes.model_ref import model_at
from hydra_mobile.runtimes.torch import TorchRuntime

ort = pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

from hydra_mobile.runtimes.onnx import OnnxRuntime, adapter_files  # noqa: E402

LIMITS = Limits(max_context=200, max_prefill=16)
IDS = [5, 80, 17, 200, 3, 44, 9]
PIXELS = np.random.default_rng(4).normal(size=(1, 3, 32, 32)).astype(np.float32)


def make_adapter(
    base: Path, folder: Path, ranks: Mapping[str, int], seed: int, part: str = "language_model"
) -> Path:
    """Write an adapter with random weights; `ranks`: end of a module's name -> rank, 0 for none."""
    model = load_model(base)
    linears = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and "layers" in n]
    names = [name for name in linears if name.startswith(part)]
    budget = Budget.of(model, names, 8)
    rank_map = RankMap(
        {name: next((r for end, r in ranks.items() if name.endswith(end)), 0) for name in names}
    )
    inject(model, rank_map, r_ref=8, alpha_ref=16.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.2, generator=generator)
    state = model.projector.state_dict()
    save_adapter(
        model,
        folder,
        rank_map=rank_map,
        budget=budget,
        alpha_ref=16.0,
        base=base_identity(base),
        extra_tensors={
            "projector.safetensors": {f"projector.{k}": v * (1 + seed) for k, v in state.items()}
        },
    )
    return folder


@pytest.fixture(scope="module")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters whose ranks differ between modules, and whose modules are not the same."""
    folder = tmp_path_factory.mktemp("adapters")
    maps = {
        "one": {"0.self_attn.q_proj": 3, "v_proj": 5, "o_proj": 1, "gate_proj": 4, "down_proj": 2},
        "two": {"k_proj": 7, "v_proj": 2, "up_proj": 6, "1.mlp.down_proj": 9},
    }
    return {
        name: make_adapter(tiny_base, folder / name, ranks, seed)
        for seed, (name, ranks) in enumerate(maps.items(), 1)
    }


def export_separate(base: Path, adapter: Path | None, out: Path, inputs: Any, preset: str) -> Path:
    return export_bundle(
        base,
        target="android",
        runtime="onnx",
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=LIMITS,
        separate=SeparateAdapter(base, adapter, "one"),
    ).folder


@pytest.fixture(scope="module")
def sound(
    tiny_base: Path,
    adapters: dict[str, Path],
    golden_inputs: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An fp32 bundle with both adapters. Tests must not write into it."""
    out = tmp_path_factory.mktemp("separate") / "bundle"
    export_separate(tiny_base, adapters["one"], out, golden_inputs, "fp32")
    add_adapter(out, tiny_base, adapters["two"], "two")
    return out


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(sound, tmp_path / "bundle"))


def outputs(runner: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings of a picture, and logits after a prompt read in two calls."""
    picture = runner.encode_image(PIXELS)
    _, state = runner.decode(np.concatenate([runner.embed(IDS[:3]), picture], axis=1), CacheState())
    logits, _ = runner.decode(runner.embed(IDS[3:]), state)
    return picture, logits


def assert_same(ours: Any, theirs: Any) -> None:
    for found, expected in zip(outputs(ours), outputs(theirs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3)


class TestOneProgram:
    def test_adapters_of_other_ranks_are_swapped_in_one_session(
        self, sound: Path, tiny_base: Path, adapters: dict[str, Path]
    ) -> None:
        runner = OnnxRuntime.load(sound, threads=1)
        eager = {name: TorchRuntime.load(folder) for name, folder in adapters.items()}
        eager["base"] = TorchRuntime.load(tiny_base)
        for name in ("one", "two", "base", "two", "one"):
            runner.use_adapter(adapter_files(Bundle.open(Path(f"{sound}#{name}"))))
            assert_same(runner, eager[name])
        # They would all pass if they were one.
        pairs = (("one", "two"), ("one", "base"), ("two", "base"))
        for left, right in pairs:
            for a, b in zip(outputs(eager[left]), outputs(eager[right]), strict=True):
                assert np.abs(a - b).max() > 0.05

    def test_a_swap_forgets_the_cache(self, sound: Path) -> None:
        runner = OnnxRuntime.load(sound, threads=1)
        _, state = runner.decode(runner.embed(IDS), CacheState())
        runner.use_adapter(None)
        with pytest.raises(HydraError, match="forgotten"):
            runner.decode(runner.embed([3]), state)

    def test_an_app_activates_it_with_the_runtime_s_own_calls(
        self, sound: Path, adapters: dict[str, Path]
    ) -> None:
        """As the card tells Kotlin: run options, and no binding."""
        eager = TorchRuntime.load(adapters["two"])
        options, alive = {}, []  # run options point to their adapter and do not keep it
        for part in ("", ".vision"):
            alive.append(ort.LoraAdapter())
            alive[-1].Load(str(sound / f"adapters/two{part}.onnx_adapter"))
            options[part] = ort.RunOptions()
            options[part].add_active_adapter(alive[-1])
        vision = ort.InferenceSession(sound / "vision_encoder.onnx")
        picture = vision.run(None, {"pixel_values": PIXELS}, options[".vision"])[0]
        np.testing.assert_allclose(picture, eager.encode_image(PIXELS), atol=1e-4)
        decoder = ort.InferenceSession(sound / "decoder_model_merged.onnx")
        inputs = {value.name for value in decoder.get_inputs()}
        feeds = {
            "inputs_embeds": eager.embed(IDS),
            "attention_mask": np.ones((1, len(IDS)), np.int64),
            "position_ids": np.arange(len(IDS))[None],
        }
        empty = np.zeros((1, 2, 0, 16), np.float32)
        feeds |= {name: empty for name in inputs if name.startswith("past")}
        logits = decoder.run(["logits"], feeds, options[""])[0].reshape(-1)
        expected, _ = eager.decode(eager.embed(IDS), CacheState())
        np.testing.assert_allclose(logits, expected, atol=1e-3)

    def test_the_program_holds_nothing_of_the_adapter(
        self, sound: Path, tiny_base: Path, golden_inputs: Any, tmp_path: Path
    ) -> None:
        bare = export_separate(tiny_base, None, tmp_path / "bare", golden_inputs, "fp32")
        for name in ("vision_encoder.onnx", "embed_tokens.onnx", "decoder_model_merged.onnx"):
            assert (bare / name).read_bytes() == (sound / name).read_bytes()
        assert run_suite(bare).passed
        assert Bundle.open(bare).adapter is None
        assert_same(OnnxRuntime.load(bare), TorchRuntime.load(tiny_base))


# Each traces a tower, which takes two seconds: some of the pairs every day.
@pytest.mark.parametrize(
    ("kind", "preset"),
    [
        ("mlp", "fp32"),
        ("ldpnet", "fp16"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("mlp", "fp16"),
                ("ldpnet", "fp32"),
                ("ldpnetv2", "fp32"),
                ("ldpnetv2", "fp16"),
            )
        ),
    ],
)
def test_every_projector_s_weights_are_inputs(
    tiny_base: Path, tmp_path: Path, kind: str, preset: str
) -> None:
    """Convolutions and norms too; their defaults are the base's own."""
    atol = {"fp32": 1e-4, "fp16": 2e-2}[preset]
    model = clip_model(tiny_base, kind)[0].requires_grad_(False)
    file = tmp_path / "vision_encoder.onnx"
    parts = (model.vision_tower, model.projector)
    with torch.no_grad():
        write_vision_encoder(*parts, 32, preset_named(preset), file, projector_inputs=True)
    session = ort.InferenceSession(file)
    pixels = torch.from_numpy(PIXELS)
    (found,) = session.run(None, {"pixel_values": PIXELS})
    own = model.encode_image(pixels).numpy()
    np.testing.assert_allclose(found, own, atol=atol)
    tensors = {name: value * 1.3 for name, value in projector_tensors(model.projector).items()}
    model.load_state_dict(tensors, strict=False)
    kind_of = np.float32 if preset == "fp32" else np.float16
    feeds = {name: value.numpy().astype(kind_of) for name, value in tensors.items()}
    (found,) = session.run(None, {"pixel_values": PIXELS, **feeds})
    other = model.encode_image(pixels).numpy()
    np.testing.assert_allclose(found, other, atol=atol)
    assert np.abs(other - own).max() > 0.1


class TestManifest:
    def test_lists_adapters(self, sound: Path, adapters: dict[str, Path]) -> None:
        manifest = json.loads((sound / MANIFEST).read_text())
        assert manifest["default_adapter"] == "one"
        assert set(manifest["adapters"]) == {"one", "two"}
        entry = manifest["adapters"]["two"]
        adapter = read_adapter(adapters["two"])
        assert entry["ranks"] == {"2": 2, "6": 2, "7": 2, "9": 1}
        assert entry["modules"] == 7
        assert entry["rank_digest"] == adapter.rank_map.digest()
        assert entry["parameters"]["lora"] == adapter.record["parameters"]["lora"]
        files = ["adapters/two.onnx_adapter", "adapters/two.vision.onnx_adapter"]
        assert list(entry["files"]) == files
        assert entry["bytes"] == sum((sound / name).stat().st_size for name in files)
        for name, digest in entry["files"].items():
            assert manifest["files"][name]["sha256"] == digest

    def test_a_selection_is_a_bundle_of_its_own(self, sound: Path) -> None:
        one, two, none = (Bundle.open(Path(f"{sound}{mark}")) for mark in ("", "#two", "#base"))
        assert (one.adapter, two.adapter, none.adapter) == ("one", "two", None)
        assert {one.folder, two.folder, none.folder} == {sound}
        assert one.file("golden") == sound / "golden.json"
        assert two.file("golden") == sound / "adapters/two/golden.json"
        with pytest.raises(ArtifactError, match="`golden`"):
            none.file("golden")
        merged = {b.manifest["sources"]["merged_sha256"] for b in (one, two, none)}
        assert len(merged) == 3
        assert none.size_bytes < min(one.size_bytes, two.size_bytes)
        artifacts = [model_at(f"{sound}{mark}") for mark in ("", "#one", "#two", "#base")]
        assert [a.name.rpartition("+ ")[2] for a in artifacts] == [
            "one", "one", "two", "no adapter"
        ]  # fmt: skip
        assert len({a.digest for a in artifacts}) == 3

    def test_a_folder_may_have_a_mark_in_its_name(self, sound: Path, tmp_path: Path) -> None:
        odd = Path(shutil.copytree(sound, tmp_path / "a#b"))
        assert split_selection(odd) == (odd, None)
        assert split_selection(Path(f"{odd}#two")) == (odd, "two")
        assert Bundle.open(Path(f"{odd}#two")).adapter == "two"

    def test_unknown_names_are_told(self, sound: Path, tiny_base: Path) -> None:
        with pytest.raises(ArtifactError, match=r"(?s)`twoo`.*`two`"):
            Bundle.open(Path(f"{sound}#twoo"))

    def test_a_merged_bundle_has_none(self, sound_chain: Any, tiny_base: Path) -> None:
        with pytest.raises(ArtifactError, match="exported merged"):
            Bundle.open(Path(f"{sound_chain.bundle}#one"))
        with pytest.raises(ArtifactError, match="adapters"):
            add_adapter(sound_chain.bundle, tiny_base, sound_chain.adapter, "x")


class TestVerify:
    @pytest.mark.parametrize("mark", ["", "#two"])
    def test_golden_vectors_of_each(self, sound: Path, mark: str) -> None:
        result = run_suite(Path(f"{sound}{mark}"))
        result.require()
        assert result.comparisons[0].agreement == 1.0

    def test_the_ladder_goes_from_the_run_to_the_program(
        self, sound: Path, adapters: dict[str, Path], tiny_base: Path
    ) -> None:
        ladder = run_suite(Path(f"{sound}#two"), adapter=adapters["two"])
        assert [rung.name for rung in ladder.comparisons] == ["adapter → ONNX Runtime fp32 + two"]
        assert ladder.passed
        with pytest.raises(ArtifactError, match="another adapter"):
            run_suite(sound, adapter=adapters["two"])
        with pytest.raises(HydraError, match="merged"):
            run_suite(sound, merged=tiny_base)

    def test_another_adapter_s_tensors_fail(self, bundle: Path) -> None:
        """Hashes put right by hand: the numbers still tell."""
        rewrite(bundle, "adapters/one.onnx_adapter", (bundle / "adapters/two.onnx_adapter"))
        result = run_suite(bundle)
        assert not result.passed
        assert any("logits" in failure for failure in result.comparisons[0].failures)

    def test_quantized_programs_take_adapters_too(
        self, tiny_base: Path, adapters: dict[str, Path], golden_inputs: Any, tmp_path: Path
    ) -> None:
        out = tmp_path / "int8"
        export_separate(tiny_base, adapters["one"], out, golden_inputs, "int8")
        add_adapter(out, tiny_base, adapters["two"], "two")
        runner, eager = OnnxRuntime.load(Path(f"{out}#two")), TorchRuntime.load(adapters["two"])
        ours, theirs = outputs(runner), outputs(eager)
        base = outputs(OnnxRuntime.load(Path(f"{out}#base")))
        for found, expected, without in zip(ours, theirs, base, strict=True):
            near = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
            assert near > 0.9
            assert near > np.corrcoef(without.ravel(), expected.ravel())[0, 1]
        values = read_adapter_file(out / "adapters/two.vision.onnx_adapter")
        assert {value.data_type() for value in values.values()} == {"tensor(float16)"}
        assert any("fp16, widened" in line for line in Bundle.open(out).manifest["fallbacks"])


def rewrite(bundle: Path, name: str, source: Path) -> None:
    """Put another file in the place of one, with its hash in the manifest."""
    from hydra_mobile.core.files import sha256_of

    shutil.copyfile(source, bundle / name)
    with edited_manifest(bundle) as manifest:
        size = (bundle / name).stat().st_size
        manifest["files"][name].update(sha256=sha256_of(bundle / name), bytes=size)


def test_a_bundle_is_whole_until_the_manifest_names_the_adapter(
    bundle: Path, tiny_base: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def full(folder: Path, value: Any) -> None:
            raise OSError(28, "No space left on device", str(folder))

        patched.setattr(adapter_file_bundle, "save_manifest", full)
        with pytest.raises(OSError, match="No space"):
            add_adapter(bundle, tiny_base, adapters["two"], "third")
    assert set(Bundle.open(bundle).manifest["adapters"]) == {"one", "two"}
    add_adapter(bundle, tiny_base, adapters["two"], "third")
    assert run_suite(Path(f"{bundle}#third")).passed


class TestRefused:
    def other_base(self, tiny_base: Path, folder: Path) -> Path:
        other = Path(shutil.copytree(tiny_base, folder))
        negate_a_weight(other)
        return other

    def test_an_adapter_of_another_base(self, bundle: Path, tiny_base: Path, tmp_path: Path):
        other = self.other_base(tiny_base, tmp_path / "other")
        stranger = make_adapter(other, tmp_path / "stranger", {"q_proj": 2}, 5)
        before = (bundle / MANIFEST).read_bytes()
        for base in (other, tiny_base):
            with pytest.raises(ArtifactError, match="base"):
                add_adapter(bundle, base, stranger, "stranger")
        assert (bundle / MANIFEST).read_bytes() == before
        assert not (bundle / "adapters/stranger.onnx_adapter").exists()

    def test_an_entry_of_another_base(self, bundle: Path):
        with edited_manifest(bundle) as manifest:
            manifest["adapters"]["two"]["base_sha256"] = "1" * 64
        assert Bundle.open(bundle).adapter == "one"
        with pytest.raises(ArtifactError, match=r"`two`.*base 111111111111"):
            Bundle.open(Path(f"{bundle}#two"))

    def test_a_damaged_file(self, bundle: Path, tmp_path: Path):
        file = bundle / "adapters/two.onnx_adapter"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        sound_file = tmp_path / "sound"
        shutil.copyfile(file, sound_file)
        file.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"two.onnx_adapter .*sha256"):
            OnnxRuntime.load(bundle)
        short = tmp_path / "short"
        for content in (bytes(data[: len(data) // 2]), b"no adapter at all", b""):
            short.write_bytes(content)
            rewrite(bundle, "adapters/one.onnx_adapter", short)
            rewrite(bundle, "adapters/two.onnx_adapter", sound_file)
            with pytest.raises(ArtifactError, match="onnxruntime"):
                OnnxRuntime.load(bundle)

    def test_a_missing_file_leaves_the_runner_as_it_was(self, sound: Path, tmp_path: Path):
        runner = OnnxRuntime.load(sound, threads=1)
        before = outputs(runner)
        with pytest.raises(ArtifactError, match=r"missing.*adapter"):
            runner.use_adapter(AdapterFiles(tmp_path / "none", None))
        for a, b in zip(outputs(runner), before, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (lambda t: t | {"lm_head.lora_A": t.pop(next(iter(t)))}, "no input of the program"),
            (lambda t: {n: v[:-1] if "lora_A" in n else v for n, v in t.items()}, "program takes"),
            (lambda t: {n: v[:, :1] if "lora_A" in n else v for n, v in t.items()}, "takes"),
            (lambda t: {n: v.astype(np.float64) for n, v in t.items()}, "is tensor"),
        ],
    )
    def test_tensors_of_another_program(
        self, sound: Path, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], why
    ):
        values = read_adapter_file(sound / "adapters/two.onnx_adapter")
        tensors = change({name: value.numpy() for name, value in values.items()})
        file = write_adapter_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            tmp_path / "foreign.onnx_adapter",
        )
        runner = OnnxRuntime.load(sound, threads=1)
        with pytest.raises(ArtifactError, match=rf"program.*{why}"):
            runner.use_adapter(AdapterFiles(file, None))

    def test_what_is_no_input_of_the_program(self, adapters: dict[str, Path], sound: Path):
        inputs = Bundle.open(sound).manifest["details"]["adapter_inputs"]
        adapter = read_adapter(adapters["one"])
        gone = {"linears": dict(list(inputs["linears"].items())[3:]), "tensors": inputs["tensors"]}
        with pytest.raises(ArtifactError, match="fixed"):
            adapter_tensors(adapter, gone, half=False)
        odd = {**inputs, "linears": {name: [1, 1] for name in inputs["linears"]}}
        with pytest.raises(ArtifactError, match=r"shape \[\d+, \d+\].*\[1"):
            adapter_tensors(adapter, odd, half=False)

    def test_another_template(self, bundle: Path, tiny_base: Path, adapters, tmp_path: Path):
        trained = Path(shutil.copytree(adapters["two"], tmp_path / "trained"))
        recipe = json.loads((tiny_base / "processor_config.json").read_text())
        recipe["template"]["user_prefix"] = "USER: "
        (trained / "processor_config.json").write_text(json.dumps(recipe))
        with pytest.raises(ArtifactError, match=r"`template`.*user_prefix"):
            add_adapter(bundle, tiny_base, trained, "three")

    @pytest.mark.parametrize(("name", "why"), [("one", "already"), ("base", "cannot"), ("a/b", "")])
    def test_names(self, bundle: Path, tiny_base: Path, adapters, name: str, why: str):
        with pytest.raises(HydraError, match=rf"`{name}` .*{why}"):
            add_adapter(bundle, tiny_base, adapters["two"], name)

    def test_linears_of_the_tower_are_told_before_the_base_is_opened(
        self, tiny_base: Path, tmp_path: Path
    ):
        base = write_clip_base(tiny_base, "mlp", tmp_path / "clip")
        trained = make_adapter(base, tmp_path / "tower", {"q_proj": 2}, 7, "vision_tower")
        with pytest.raises(ArtifactError, match=r"vision_tower.*fixed"):
            SeparateAdapter(base, trained, "one")

    def test_another_class_is_told_before_it_is_opened(self, smolvlm_base: Path, run_verb):
        code, _, err = run_verb(
            *("export", smolvlm_base, "--target", "onnx"),
            *("--adapter", "separate", "--preset", "fp32", "--dry-run"),
        )
        assert code == 2
        assert "MobileVLM" in err

    def test_a_runtime_without_adapters(self, tiny_base: Path, golden_inputs: Any, tmp_path: Path):
        pytest.importorskip("executorch", reason="needs the extra [executorch]")
        with pytest.raises(HydraError, match=r"`executorch`.*adapter"):
            export_bundle(
                tiny_base,
                target="android",
                runtime="executorch",
                preset="fp32",
                out=tmp_path / "out",
                golden_inputs=golden_inputs,
                separate=SeparateAdapter(tiny_base, None, "one"),
            )


def test_the_card_tells_how_to_swap(sound: Path) -> None:
    card = (sound / "README.md").read_text()
    assert "`one`" in card
    assert "addActiveLoraAdapter" in card
    assert "Merged weights" not in card


def said_by(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a verb in this process; return what it printed, errors first."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.output + capsys.readouterr().out


def test_from_the_command_line(
    adapters: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """export --adapter separate, bundle add, and verify of both."""
    out, run = tmp_path / "bundle", partial(said_by, capsys)
    separate = ("export", adapters["one"], "--preset", "fp32", "--adapter")
    limits = ("--max-context", "250", "--max-prefill", "60", "--out", out)
    assert "seperate" in run(*separate, "seperate", *limits)
    assert "--runtime onnx" in run(*separate, "separate", "--runtime", "executorch", *limits)
    said = run(*separate, "separate", "--target", "onnx", "--name", "first", *limits)
    assert f"verify {out}" in said
    said = run("bundle", "add", out, adapters["two"], "--name", "second")
    assert f"verify {out}#second" in said
    assert "7 linears" in said
    said = run("verify", out, "--against", adapters["one"])
    assert "adapter = ONNX Runtime fp32 + first" in said
    said = run("verify", f"{out}#second")
    assert "= ONNX Runtime fp32 + second" in said
    assert "error: " in run("verify", f"{out}#third")


@pytest.mark.slow
def test_chat_and_evaluate_with_a_selection(sound: Path, tmp_path: Path) -> None:
    from benchmark_tree import pope

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "hydra_mobile", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    asked = ("--image", sound / "golden/0.png", "--ask", "What?", "--new-tokens", 2)
    assert "ONNX Runtime fp32 + two" in run("chat", f"{sound}#two", *asked)
    with Image.open(sound / "golden/0.png") as picture:
        pope(tmp_path / "data/pope", [picture.convert("RGB")], 3)
    where = ("--data", tmp_path / "data", "--out", tmp_path / "report")
    run("evaluate", sound, f"{sound}#two", "--benchmarks", "pope", "--workers", 1, *where)
    report = json.loads((tmp_path / "report/report.json").read_text())
    names = [system["name"] for system in report["systems"]]
    assert names == ["ONNX Runtime fp32 + one", "ONNX Runtime fp32 + two"]
    assert len({system["source_hash"] for system in report["systems"]}) == 2
