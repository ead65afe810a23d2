"""What a path on the command line is: a base, a run, a merged model or a bundle.

Knows the marks of each folder and which runner runs it; loads nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra_mobile.bundle.bundle import MANIFEST, Bundle
from hydra_mobile.bundle.lora_manifest import split_selection
from hydra_mobile.core.errors import ArtefactError, HydraError
from hydra_mobile.core.files import read_json, sha256_of
from hydra_mobile.models.registry import BASES, Log, base_folder
from hydra_mobile.runtimes.coreml.availability import coreml_title

Kind = Literal["base", "run", "merged", "bundle"]
#: Runners that a batch is handed to instead of being called for each token: `device_worker`.
DEVICE_RUNNERS = ("adb", "app")
_RUNTIME_NAMES = {"executorch": "ExecuTorch", "onnx": "ONNX Runtime", "torch": "torch"}


@dataclass(frozen=True)
class Artefact:
    """One thing that can be evaluated.

    Attributes:
        path: its folder.
        kind: what it is.
        runner: name in `RUNNERS`.
        name: row title in tables, for example "ExecuTorch int4".
        preset: precision preset; "fp32" for eager torch.
        size_bytes: weights or program files.
        digest: sha256 of the weights, or of what names them by their hashes.
        recipe: digest of tokenizer, template and preprocessing where `digest` does not cover them.
    """

    path: Path
    kind: Kind
    runner: str
    name: str
    preset: str
    size_bytes: int
    digest: str
    recipe: str = ""

    @property
    def identity(self) -> str:
        """Changes whenever an answer could: equal identities give equal answers."""
        return hashlib.sha256(f"{self.runner} {self.digest} {self.recipe}".encode()).hexdigest()


def artefact_at(path: str) -> Artefact:
    """Recognise the artefact at `path`, or the named base; `BUNDLE#NAME` is one of its adapters.

    Raises:
        ArtefactError: there is nothing that can be evaluated.
    """
    folder = Path(path)
    if path in BASES and not folder.exists():
        folder = base_folder(path)
    if (split_selection(folder)[0] / MANIFEST).is_file():
        bundle = Bundle.open(folder, verify_hashes=False)
        name = (
            coreml_title(bundle.preset.name)
            if bundle.runtime == "coreml"
            else f"{_RUNTIME_NAMES.get(bundle.runtime, bundle.runtime)} {bundle.preset.name}"
        )
        digest = sha256_of(bundle.folder / MANIFEST)
        if "adapters" in bundle.manifest:
            name += f" + {bundle.adapter or 'no adapter'}"
            digest = hashlib.sha256(f"{digest} {bundle.adapter}".encode()).hexdigest()
        return Artefact(
            folder, "bundle", bundle.runtime, name, bundle.preset.name, bundle.size_bytes, digest
        )
    if (folder / "run.json").is_file() and _trained_whole(folder):
        return artefact_at(str(folder / "merged"))
    if (folder / "run.json").is_file() or (folder / "adapter_config.json").is_file():
        adapter = folder / "adapter" if (folder / "run.json").is_file() else folder
        record = adapter / "hydra.json"
        read_json(record, "a finished adapter (go on with `hydra-mobile train --resume`)")
        return Artefact(
            folder,
            "run",
            "torch",
            "torch fp32 (trained, unmerged)",
            "fp32",
            sum(file.stat().st_size for file in adapter.glob("*.safetensors")),
            sha256_of(record),
            _recipe_in(adapter),
        )
    if (folder / "config.json").is_file():
        # Another project's checkpoint is evaluated as the base that it is imported to.
        folder = base_folder(str(folder))
    weights = folder / "model.safetensors"
    if weights.is_file() and (folder / "config.json").is_file():
        merged = (folder / "merge.json").is_file()
        return Artefact(
            folder,
            "merged" if merged else "base",
            "torch",
            "torch fp32 (trained)" if merged else "torch fp32 (untrained)",
            "fp32",
            weights.stat().st_size,
            sha256_of(weights),
            _recipe_in(folder),
        )
    raise ArtefactError(
        f"{path} is no run, adapter, merged model, bundle or named base.",
        "Expected a folder with run.json, adapter_config.json, model.safetensors or manifest.json.",
    )


def distinct(artefacts: Sequence[Artefact]) -> list[Artefact]:
    """Return the artefacts with names that differ.

    Raises:
        HydraError: one is there twice.
    """
    seen: dict[str, Artefact] = {}
    for artefact in artefacts:
        twin = seen.setdefault(artefact.identity, artefact)
        if twin is not artefact:
            raise HydraError(
                f"{twin.path} and {artefact.path} are the same artefact.", "Give it once."
            )
    counts = Counter(artefact.name for artefact in artefacts)
    endings = Counter((a.name, a.path.absolute().name) for a in artefacts)

    def name_of(artefact: Artefact) -> str:
        if counts[artefact.name] == 1:
            return artefact.name
        path = artefact.path.absolute()
        shared = endings[artefact.name, path.name] > 1
        return (
            f"{artefact.name} ({path.parent.name}/{path.name})"
            if shared
            else (f"{artefact.name} ({path.name})")
        )

    return [dataclasses.replace(artefact, name=name_of(artefact)) for artefact in artefacts]


def _recipe_in(folder: Path) -> str:
    """Return a digest of the files beside the weights that change answers."""
    names = ("config.json", "processor_config.json", "tokenizer.json")
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
    """Return the base folder of a run or adapter: the run's `base`, else the adapter's name.

    Raises:
        ArtefactError: no record of a base, or the base is not there.
    """
    for folder in (run_or_adapter, run_or_adapter.parent):
        if (folder / "run.json").is_file():
            run = read_json(folder / "run.json", "the record of a run")
            return base_folder(str(run["config"]["base"]))
    record = read_json(run_or_adapter / "hydra.json", "the record of a HyDRA adapter")
    return base_folder(str(record["base"]["name"]))


def merged_folder(artefact: Artefact, log: Log) -> Path:
    """Return a merged folder of the artefact; a run is merged into its `merged/` when it is not.

    Raises:
        ArtefactError: the artefact is a bundle.
    """
    if artefact.kind == "bundle":
        raise ArtefactError(
            f"{artefact.path} is a bundle already.", "Export the run or the merged folder."
        )
    if artefact.kind != "run":
        return artefact.path
    from hydra_export.merge import merge

    out = artefact.path / "merged"
    record = adapter_in(artefact.path) / "hydra.json"
    files = read_json(record, "the record of a HyDRA adapter")["files"]
    merged = read_json(out / "merge.json", "the record of a merge") if out.is_dir() else {}
    if not merged or merged["sources"]["adapter_files"] != files:
        merge(base_of(artefact.path), artefact.path, out, log=log)
    return out
