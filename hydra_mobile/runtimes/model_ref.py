"""What a path on the command line is: a base, a run, a merged model or a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra_mobile.adapters.folder_files import (
    CONFIG_FILE,
    HYDRA_FILE,
    adapter_files,
    is_plain_peft,
)
from hydra_mobile.adapters.identity import BaseIdentity
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.lora_manifest import split_selection
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.boundaries import reading
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json, sha256_of, tilde
from hydra_mobile.core.folders import recover
from hydra_mobile.core.integrity import read_sealed
from hydra_mobile.core.model_folder import (
    has_weights,
    title_of,
    weight_files,
    weights_sha256,
)
from hydra_mobile.models.families import family_of
from hydra_mobile.models.registry import BASES, base_folder
from hydra_mobile.models.tiles import TILES_FILE
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.hub_models import resolved

Kind = Literal["base", "run", "merged", "bundle"]


@dataclass(frozen=True)
class ModelRef:
    """One thing that can be evaluated.

    Attributes:
        path: its folder.
        kind: what it is.
        runner: name in `RUNTIMES`; on another device that device's name.
        name: row title in tables, for example "ExecuTorch int4".
        preset: precision preset; "fp32" for eager torch.
        size_bytes: weights or program files.
        digest: sha256 of the weights, or of what names them by their hashes.
        recipe: digest of tokenizer, template and preprocessing where `digest` does not cover them.
        device: name in `DEVICES` of where it runs.
    """

    path: Path
    kind: Kind
    runner: str
    name: str
    preset: str
    size_bytes: int
    digest: str
    recipe: str = ""
    device: str = "host"

    @property
    def identity(self) -> str:
        """Changes whenever an answer could: equal identities give equal answers."""
        return hashlib.sha256(f"{self.runner} {self.digest} {self.recipe}".encode()).hexdigest()


def model_at(path: str) -> ModelRef:
    """Recognize the artifact at `path`, or the named base; `BUNDLE#NAME` is one of its adapters.

    A hub id is fetched.

    Raises:
        ArtifactError: there is nothing that can be evaluated.
    """
    folder = tilde(Path(resolved(path)))
    # A writer may have been killed between two renames, where the system has no exchange.
    recover(folder)
    if path in BASES and not folder.exists():
        folder = base_folder(path)
    if (split_selection(folder)[0] / MANIFEST).is_file():
        bundle = Bundle.open(folder, verify_hashes=False)
        name = runtime_class(bundle.runtime).label(bundle.preset.name)
        digest = sha256_of(bundle.folder / MANIFEST)
        if "adapters" in bundle.manifest:
            name += f" + {bundle.adapter or 'no adapter'}"
            digest = hashlib.sha256(f"{digest} {bundle.adapter}".encode()).hexdigest()
        return ModelRef(
            folder, "bundle", bundle.runtime, name, bundle.preset.name, bundle.size_bytes, digest
        )
    if (folder / "run.json").is_file() and _trained_whole(folder):
        return model_at(str(folder / "merged"))
    if (folder / "run.json").is_file() or (folder / CONFIG_FILE).is_file():
        adapter = folder / "adapter" if (folder / "run.json").is_file() else folder
        files = adapter_files(adapter)
        record = adapter / HYDRA_FILE
        return ModelRef(
            folder,
            "run",
            "torch",
            "torch fp32 (trained, unmerged)",
            "fp32",
            sum(file.stat().st_size for file in adapter.glob("*.safetensors")),
            sha256_of(record)
            if record.is_file()
            else hashlib.sha256(repr(files).encode()).hexdigest(),
            _recipe_in(adapter),
        )
    if (folder / "config.json").is_file():
        # Another project's checkpoint is evaluated as the base that it is imported to.
        folder = base_folder(str(folder))
    if (folder / "config.json").is_file() and has_weights(folder):
        merged = (folder / "merge.json").is_file()
        return ModelRef(
            folder,
            "merged" if merged else "base",
            "torch",
            "torch fp32 (trained)" if merged else "torch fp32 (untrained)",
            "fp32",
            sum(file.stat().st_size for file in weight_files(folder)),
            weights_sha256(folder),
            _recipe_in(folder),
        )
    raise ArtifactError(
        f"{path} is no run, adapter, merged model, bundle or named base.",
        "Expected a folder with run.json, adapter_config.json, model.safetensors or manifest.json.",
    )


def distinct(artifacts: Sequence[ModelRef]) -> list[ModelRef]:
    """Return the artifacts with names that differ.

    Raises:
        HydraError: one is there twice.
    """
    seen: dict[str, ModelRef] = {}
    for artifact in artifacts:
        twin = seen.setdefault(artifact.identity, artifact)
        if twin is not artifact:
            raise HydraError(
                f"{twin.path} and {artifact.path} are the same artifact.", "Give it once."
            )
    counts = Counter(artifact.name for artifact in artifacts)
    endings = Counter((a.name, title_of(a.path)) for a in artifacts)

    def name_of(artifact: ModelRef) -> str:
        if counts[artifact.name] == 1:
            return artifact.name
        path = artifact.path.absolute()
        shared = endings[artifact.name, title_of(path)] > 1
        return (
            f"{artifact.name} ({path.parent.name}/{path.name})"
            if shared
            else (f"{artifact.name} ({title_of(path)})")
        )

    return [dataclasses.replace(artifact, name=name_of(artifact)) for artifact in artifacts]


def _recipe_in(folder: Path) -> str:
    """Return a digest of the files beside the weights that change answers."""
    names = ["config.json", "processor_config.json", "tokenizer.json"]
    if (folder / "config.json").is_file() and family_of(folder).derives_prompts:
        names += ["preprocessor_config.json", "chat_template.jinja", "chat_template.json"]
        names.append(TILES_FILE)
    found = {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _trained_whole(run: Path) -> bool:
    """Whether a run trained the model itself and left no adapter."""
    return (run / "merged").is_dir() and not (run / "adapter").is_dir()


def adapter_in(folder: Path) -> Path:
    """Return the adapter folder of a run; any other folder is returned as it is."""
    inside = folder / "adapter"
    return inside if inside.is_dir() else folder


def base_of(run_or_adapter: Path) -> Path:
    """Return the base folder of a run or adapter: the run's `base`, else the one it names.

    Raises:
        ArtifactError: no record of a base, or the base is not there.
    """
    for folder in (run_or_adapter, run_or_adapter.parent):
        if (folder / "run.json").is_file():
            run = read_sealed(
                folder / "run.json", "the record of a run", "Take it from a copy of the run."
            )
            with reading(folder / "run.json", "the record of a run, with `config.base`"):
                name = str(run["config"]["base"])
                revision = str(run.get("base_revision", ""))
            return base_folder(name, revision=revision)
    if is_plain_peft(run_or_adapter):
        config = read_json(run_or_adapter / CONFIG_FILE, "the configuration of a peft adapter")
        name = config.get("base_model_name_or_path")
        if not name:
            raise ArtifactError(
                f"{run_or_adapter / CONFIG_FILE} names no base: `base_model_name_or_path` is "
                "empty.",
                "Give it: `hydra-mobile merge ADAPTER --base BASE`.",
            )
        return base_folder(str(name), revision=str(config.get("revision") or ""))
    record = read_json(run_or_adapter / HYDRA_FILE, "the record of a HyDRA adapter")
    with reading(run_or_adapter / HYDRA_FILE, "the record of a HyDRA adapter, with `base`"):
        base = BaseIdentity.from_dict(record["base"])
    return base_folder(base.name, revision=base.revision)
