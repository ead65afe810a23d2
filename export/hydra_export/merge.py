"""Merge an adapter into its base: one Hugging Face folder that holds every trained tensor.

W + (lora_alpha / rank) B A in fp32, one cast to the stored dtype, tensor by tensor in a copy of the
base's files. Tensors trained beside the adapter (the projector) replace the base's. All others stay
bit for bit, which is checked by hash.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.adapters.folder_files import adapter_files
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.save_load import (
    Adapter,
    located,
    read_adapter,
    require_same_base,
)
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import cache_home, read_json, require_free_space, write_json
from hydra_mobile.core.folders import folder_atomically, require_replaceable
from hydra_mobile.core.integrity import hashes_of, plain_files, remembered_sha256
from hydra_mobile.core.model_folder import (
    MERGE_FILE,
    MERGED,
    hub_name_of,
    require_as_merged,
    revision_of,
    weight_files,
)
from hydra_mobile.core.registry import nearest
from hydra_mobile.core.safetensors_io import (
    Place,
    overwrite_tensor,
    places,
    read_tensor,
    tensor_hash,
)
from hydra_mobile.models.families import derives_prompts, stored_names
from hydra_mobile.models.hub_files import write_generation_config, write_processor_files
from hydra_mobile.models.model_card import CARD, merged_card
from hydra_mobile.models.processor import PROCESSOR_FILE, MobileVLMProcessor
from hydra_mobile.models.registry import Log
from hydra_mobile.models.tiles import write_tiles
from hydra_mobile.runtimes.model_ref import ModelRef, adapter_in, base_of

SCHEMA = 1


@dataclass(frozen=True)
class MergeReport:
    """What a merge did; also the content of merge.json.

    Attributes:
        out: the merged folder; merge.json has its name.
        sources: name and sha256 of the base and of every file read.
        merged: names of the tensors that took a LoRA update.
        replaced: names of the tensors that were replaced whole.
        untouched: number of tensors that are bit-identical to the base's.
        lora_parameters: LoRA parameters merged.
        files: sha256 of every file written.
        trained_for: preset whose rounding training has seen; "": none.
    """

    out: Path
    sources: dict[str, Any]
    merged: list[str]
    replaced: list[str]
    untouched: int
    lora_parameters: int
    files: dict[str, str]
    trained_for: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as merge.json holds it."""
        record = {**asdict(self), "out": self.out.name}
        if not self.trained_for:
            del record["trained_for"]
        return record


def merge(
    base_folder: Path,
    adapter_folder: Path,
    out: Path,
    *,
    log: Callable[[str], None] = lambda line: None,
) -> MergeReport:
    """Write the merged model folder, atomically.

    Args:
        base_folder: Hugging Face folder with safetensors weights, one file or several.
        adapter_folder: an adapter folder, or a run folder that has `adapter/` inside.
        out: the folder to write or replace.
        log: receives one line per step.

    Raises:
        ArtifactError: the adapter belongs to another base, the base is itself merged, a tensor of
            the adapter has no counterpart in the base, or a file is cut short.
    """
    if (adapter_folder / "adapter").is_dir():
        adapter_folder = adapter_folder / "adapter"
    _require_separate(base_folder, adapter_folder, out)
    require_replaceable(out, MERGED)
    files = weight_files(base_folder)
    index = {name: (path, p) for path in files for name, p in places(path).items()}
    require_as_merged(base_folder, again=True)
    base = base_identity(base_folder, again=True)
    adapter = read_adapter(adapter_folder)
    merged_base = (base_folder / MERGE_FILE).exists()
    if merged_base and adapter.base.sha256 and adapter.base.sha256 != base.sha256:
        raise ArtifactError(
            f"{base_folder} is already a merged model: its weights are no longer the base's.",
            "Merge into the base that the adapter was trained on.",
        )
    require_same_base(adapter_folder, adapter.base, base)
    adapter = located(adapter, index, stored_names(base_folder))
    replacements = _replacements(adapter)
    _require_counterparts(adapter, replacements, index, base_folder)
    require_free_space(out, sum(path.stat().st_size for path in files), "the merged model")
    with folder_atomically(out, mark=MERGED) as temporary:
        log(f"Copying {len(files)} weight file(s) of base `{base.name}`")
        for path in sorted(base_folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, temporary / path.name)
        ours = not derives_prompts(base_folder)
        if (adapter_folder / PROCESSOR_FILE).is_file() and ours:
            # The template and preprocessing that it was trained with.
            shutil.copyfile(adapter_folder / PROCESSOR_FILE, temporary / PROCESSOR_FILE)
        if (adapter_folder / PROCESSOR_FILE).is_file() and not ours:
            # Everything else of it is derived from the checkpoint's own files.
            trained = MobileVLMProcessor.from_pretrained(base_folder, recipe=adapter_folder)
            write_tiles(temporary, trained.image.tiles)
        template = _refresh_hub_files(temporary) if ours else "of the base"
        merged = _write_updates(adapter, index, temporary)
        log(f"Merged {len(merged)} linears with {adapter.record['parameters']['lora']:,} values")
        for name, value in replacements.items():
            overwrite_tensor(temporary / index[name][0].name, name, index[name][1], value)
        log(f"Replaced {len(replacements)} tensors trained beside the adapter")
        changed = {*merged, *replacements}
        untouched = [name for name in index if name not in changed]
        _require_untouched(untouched, index, temporary)
        log(f"{len(untouched)} other tensors are bit-identical to the base")
        report = MergeReport(
            out=out,
            sources={
                "base": base.to_dict(),
                # Hashed afresh for the base's identity, and remembered since.
                "base_files": {path.name: remembered_sha256(path) for path in files},
                "adapter_files": adapter.record["files"],
                "rank_digest": adapter.rank_map.digest(),
            },
            trained_for=str(adapter.record.get("trained_for", "")),
            merged=merged,
            replaced=sorted(replacements),
            untouched=len(untouched),
            lora_parameters=adapter.record["parameters"]["lora"],
            files=hashes_of(temporary, [n for n in plain_files(temporary) if n != MERGE_FILE]),
        )
        write_json(temporary / MERGE_FILE, {"schema": SCHEMA, **report.to_dict()})
        training = (
            f"Trained with hydra-mobile: a LoRA adapter of {report.lora_parameters:,} parameters, "
            f"merged into {len(merged)} linear layers."
        )
        card = merged_card(report.sources, training, template)
        (temporary / CARD).write_text(card, encoding="utf-8")
    return report


def merged_folder(artifact: ModelRef, log: Log) -> Path:
    """Return a merged folder of the artifact; a run is merged into its `merged/` when it is not.

    An adapter of the hub is merged into the cache.

    Raises:
        ArtifactError: the artifact is a bundle.
    """
    if artifact.kind == "bundle":
        raise ArtifactError(
            f"{artifact.path} is a bundle already.", "Export the run or the merged folder."
        )
    if artifact.kind != "run":
        return artifact.path
    out = artifact.path / "merged"
    if hub_name := hub_name_of(artifact.path):
        # The hub's cache is its own.
        called = f"{hub_name.replace('/', '--')}-{revision_of(artifact.path)[:12]}"
        out = cache_home() / "merged" / called
    files = adapter_files(adapter_in(artifact.path))
    merged = read_json(out / "merge.json", "the record of a merge") if out.is_dir() else {}
    if not merged or merged["sources"]["adapter_files"] != files:
        merge(base_of(artifact.path), artifact.path, out, log=log)
    return out


def _refresh_hub_files(folder: Path) -> str:
    """Write what other tools read of the folder's template; return the template's name.

    The copies of the base's files, if there are any, are of the base's template.
    """
    if not (folder / PROCESSOR_FILE).is_file():
        return "of the base"
    processor = MobileVLMProcessor.from_pretrained(folder)
    write_processor_files(folder, processor)
    write_generation_config(folder, processor)
    return processor.template.name


def _replacements(adapter: Adapter) -> dict[str, Tensor]:
    """Return the whole tensors trained beside the adapter, by full name."""
    whole: dict[str, Tensor] = {}
    for file, tensors in adapter.extra_tensors.items():
        for name, tensor in tensors.items():
            if name in whole or name.removesuffix(".weight") in adapter.rank_map:
                raise ArtifactError(f"{adapter.folder / file}: `{name}` is trained twice.")
            whole[name] = tensor
    return whole


def _require_counterparts(
    adapter: Adapter,
    replacements: Mapping[str, Tensor],
    index: Mapping[str, tuple[Path, Place]],
    base_folder: Path,
) -> None:
    """Raise unless every tensor of the adapter has one of its shape in the base."""
    shapes = {name: tuple(tensor.shape) for name, tensor in replacements.items()}
    for module, (a, b) in adapter.tensors.items():
        shapes[f"{module}.weight"] = (b.shape[0], a.shape[1])
    for name, shape in shapes.items():
        if name not in index:
            raise ArtifactError(
                f"The adapter changes `{name}`, which {base_folder} does not hold.",
                nearest(name, index),
            )
        if index[name][1].shape != shape:
            raise ArtifactError(
                f"The adapter has shape {shape} for `{name}`, {base_folder} has "
                f"{index[name][1].shape}."
            )


def _require_separate(base_folder: Path, adapter_folder: Path, out: Path) -> None:
    for source in (base_folder.resolve(), adapter_folder.resolve()):
        if source == out.resolve() or out.resolve() in source.parents:
            raise ArtifactError(
                f"The merged model would overwrite {source}.", "Choose another output folder."
            )


def _write_updates(
    adapter: Adapter, index: Mapping[str, tuple[Path, Place]], folder: Path
) -> list[str]:
    """Overwrite every adapted weight in the copied files; return their names."""
    names = []
    for module in adapter.rank_map:
        name = f"{module}.weight"
        path, place = index[name]
        with torch.no_grad():
            weight = read_tensor(path, name)
            # float64 weights keep their width; all others are added in fp32.
            wide = weight if weight.dtype == torch.float64 else weight.float()
            overwrite_tensor(folder / path.name, name, place, wide + adapter.delta(module))
        names.append(name)
    return names


def _require_untouched(
    names: list[str], index: Mapping[str, tuple[Path, Place]], folder: Path
) -> None:
    for name in names:
        path, place = index[name]
        if tensor_hash(path, place) != tensor_hash(folder / path.name, place):
            raise ArtifactError(
                f"`{name}` differs between {path} and its copy, though nothing trained it.",
                "The disk or the base changed during the merge; run it again.",
            )
