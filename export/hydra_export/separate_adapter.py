"""Adapters in bundles: the first one when a base program is made, others added to it later.

A base program is quantized from weights that no adapter has touched, so every adapter of that base
runs on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_export.targets import target_of
from hydra_mobile.adapters.identity import BaseIdentity, base_identity
from hydra_mobile.adapters.save_load import Adapter, located, read_adapter
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.golden import GOLDEN, write_golden
from hydra_mobile.bundle.lora_file import (
    DECODER_SUFFIX,
    VISION_SUFFIX,
    adapter_tensors,
    fixed_in_program,
    write_adapter_file,
)
from hydra_mobile.bundle.lora_manifest import require_name
from hydra_mobile.bundle.manifest import read_manifest, save_manifest
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json, require_free_space, sha256_of
from hydra_mobile.core.folders import Mark, folder_atomically
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.model_folder import weight_files
from hydra_mobile.core.safetensors_io import places
from hydra_mobile.models.families import family_of
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.processor import MobileVLMProcessor

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel

FOLDER = "adapters"
_TEXT, _PROJECTOR = "language_model.", "projector."
_MARK = Mark(GOLDEN, "golden vectors")
#: Most bytes of golden vectors and pictures beside an adapter's tensors.
_BESIDE_TENSORS = 16_000_000


class SeparateAdapter:
    """A base, and the adapter that goes into a file of its own.

    Args:
        base: folder of the base.
        adapter: folder of an adapter that was trained on it; None: a program without adapters.
        name: what the adapter is called in the bundle.

    Raises:
        ArtifactError: the adapter belongs to another base, a file of it is damaged, or it changes
            what is no input of a program.
        HydraError: the name cannot be used, or the base is of a class without such programs.
    """

    def __init__(self, base: Path, adapter: Path | None, name: str) -> None:
        require_name(name)
        if family_of(base).derives_prompts:
            raise HydraError(
                f"{base}: adapters beside a program are for MobileVLM's class alone.",
                "Leave --adapter at merged.",
            )
        self.base, self.folder, self.name = base, adapter, name
        self.identity = base_identity(base)
        self.adapter = None
        if adapter:
            names = {name for file in weight_files(base) for name in places(file)}
            found = read_adapter(adapter, base=self.identity)
            self.adapter = located(found, names, family_of(base).rename(base))
            _require_inputs(self.adapter)
        self._projector: dict[str, Any] = {}

    def load(self) -> tuple[VisionLanguageModel, MobileVLMProcessor]:
        """Return the base with its adapter, unmerged: the reference of what the bundle must answer.

        The processor is the one that the adapter was trained with.
        """
        from hydra_mobile.adapters.save_load import load_adapter
        from hydra_mobile.models.loading import load_with_processor

        model, processor = load_with_processor(self.base, self.folder)
        model.requires_grad_(False)
        if self.folder is not None:
            state = model.projector.state_dict()
            self._projector = {name: tensor.clone() for name, tensor in state.items()}
            names = family_of(self.base).rename(self.base)
            load_adapter(model.whole, self.folder, base=self.identity, rename=names)
            model.requires_grad_(False)
        return model, processor

    def detach(self, model: VisionLanguageModel) -> None:
        """Make a model from `load` the base again, in place."""
        from hydra_mobile.adapters.lora import remove

        if self.folder is not None:
            remove(model.whole)
            model.projector.load_state_dict(self._projector)
            self._projector = {}

    def close(self, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
        """Write the adapter into a new bundle as its default; return the manifest with it."""
        manifest = {**manifest, "adapters": {}, "default_adapter": None}
        if self.adapter is not None:
            manifest = _with_adapter(folder, manifest, self.adapter, self.name, {})
            manifest["default_adapter"] = self.name
        if "footprint" in manifest:
            manifest["footprint"] = target_of(manifest).footprint(manifest)
        save_manifest(folder, manifest)
        return manifest


def add_adapter(
    bundle_folder: Path,
    base: Path,
    adapter_folder: Path,
    name: str,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Add an adapter to a bundle that has a base program; return its entry in the manifest.

    Its golden vectors are those of the base with the adapter, on the pictures of the bundle. The
    manifest is written last: until then the bundle is what it was.

    Args:
        bundle_folder: the bundle.
        base: folder of the base that both were made from.
        adapter_folder: the adapter.
        name: what to call it; select it with `BUNDLE#NAME`.
        log: gets a line for each step.

    Raises:
        ArtifactError: the bundle is damaged, or was exported merged; the adapter is damaged, was
            trained on another base, with another template or preprocessing, or changes something
            that is no input of the program.
        HydraError: the name is taken or cannot be used, or the disk has no space.
    """
    bundle = Bundle.open(bundle_folder)
    manifest: dict[str, Any] = read_manifest(bundle.folder)
    if "adapters" not in manifest:
        raise ArtifactError(
            f"{bundle.folder} holds a merged program, which takes no adapters.",
            "Export a base program with `hydra-mobile export RUN --adapter separate`.",
        )
    require_name(name, manifest["adapters"])
    sources = manifest["sources"]
    # Of the adapter's own record, before seconds are spent on its base.
    read_adapter(adapter_folder, base=BaseIdentity(sources["base"], sources["base_sha256"]))
    separate = SeparateAdapter(base, adapter_folder, name)
    assert separate.adapter is not None
    size = sum(path.stat().st_size for path in adapter_folder.glob("*.safetensors"))
    require_free_space(bundle.folder, 2 * size + _BESIDE_TENSORS, f"the adapter {name}")
    model, processor = separate.load()
    _require_same_recipe(adapter_folder, processor, manifest, bundle.folder)
    log(f"golden vectors of {adapter_folder}")
    golden = read_json(bundle.folder / GOLDEN, "golden vectors")
    inputs = [
        (open_picture(bundle.folder / case["image"]), case["question"]) for case in golden["cases"]
    ]
    with folder_atomically(bundle.folder / FOLDER / name, mark=_MARK) as folder:
        files = write_golden(model, processor, inputs, folder)
    owned = {f"{FOLDER}/{name}/{file}": f"{role}:{name}" for file, role in files.items()}
    manifest = _with_adapter(bundle.folder, manifest, separate.adapter, name, owned)
    save_manifest(bundle.folder, manifest)
    entry: dict[str, Any] = manifest["adapters"][name]
    log(f"{bundle.folder}#{name}: {summary(entry)}")
    return entry


def summary(entry: Mapping[str, Any]) -> str:
    """Return an adapter's entry in a manifest in one line."""
    ranks = ", ".join(f"{rank}: {count}" for rank, count in entry["ranks"].items())
    parameters = entry["parameters"]
    return (
        f"{entry['bytes'] / 1e6:.1f} MB, {parameters['lora']:,} LoRA parameters in "
        f"{entry['modules']} linears (rank: linears {ranks}), {parameters['projector']:,} of the "
        "projector"
    )


def _require_inputs(adapter: Adapter) -> None:
    """Raise where an adapter changes more than a program has inputs for, which is known early.

    They are the linears of the language model and the projector's tensors; which of them is known
    when the program is there.
    """
    others = [name for name in adapter.rank_map if not name.startswith(_TEXT)]
    for tensors in adapter.extra_tensors.values():
        others += [name for name in tensors if not name.startswith(_PROJECTOR)]
    if others:
        raise fixed_in_program(adapter, others[0])


def _with_adapter(
    folder: Path,
    manifest: dict[str, Any],
    adapter: Adapter,
    name: str,
    owned: Mapping[str, str],
) -> dict[str, Any]:
    """Write an adapter's files; return the manifest that names them and `owned` (path -> role)."""
    half = manifest["preset"]["projector"] != "fp32"
    inputs = manifest["details"]["adapter_inputs"]
    decoder, vision = adapter_tensors(adapter, inputs, half=half)
    roles = dict(owned)
    (folder / FOLDER).mkdir(exist_ok=True)
    own: list[str] = []
    for tensors, suffix, role in (
        (decoder, DECODER_SUFFIX, "adapter"),
        (vision, VISION_SUFFIX, "adapter_vision"),
    ):
        if tensors:
            file = f"{FOLDER}/{name}{suffix}"
            write_adapter_file(tensors, folder / file)
            roles[file] = f"{role}:{name}"
            own.append(file)
    files: dict[str, dict[str, Any]] = {
        file: {
            "role": role,
            "bytes": (folder / file).stat().st_size,
            "sha256": sha256_of(folder / file),
        }
        for file, role in roles.items()
    }
    entry = {
        "files": {file: files[file]["sha256"] for file in own},
        "bytes": sum(files[file]["bytes"] for file in own),
        "parameters": {
            "lora": sum(a.numel() + b.numel() for a, b in adapter.tensors.values()),
            "projector": sum(tensor.size for tensor in vision.values()),
        },
        "modules": len(adapter.rank_map),
        "ranks": {str(r): n for r, n in sorted(Counter(adapter.rank_map.values()).items())},
        "rank_digest": adapter.rank_map.digest(),
        "base_sha256": adapter.base.sha256 or manifest["sources"]["base_sha256"],
        "source": dict(adapter.record["files"]),
    }
    return {
        **manifest,
        "files": dict(sorted({**manifest["files"], **files}.items())),
        "adapters": {**manifest["adapters"], name: entry},
    }


def _require_same_recipe(
    adapter: Path, processor: MobileVLMProcessor, manifest: Mapping[str, Any], bundle: Path
) -> None:
    """Raise unless the adapter was trained with the bundle's prompt and preprocessing."""
    for key, value in (("template", processor.template), ("image", processor.image)):
        own = json.loads(dumps(value.to_dict()))
        if own != manifest[key]:
            differing = [part for part in own if own[part] != manifest[key].get(part)]
            raise ArtifactError(
                f"The adapter in {adapter} was trained with another `{key}` than {bundle}: "
                f"{', '.join(differing)} differ.",
                "Export it into a bundle of its own.",
            )
