"""The models that the parity suite compares, and whether they belong together.

Another model would fail every part; here it is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.adapters.folder_files import adapter_files
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.tolerance import TOLERANCES, Tolerance, precision_class, tolerance_of
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json
from hydra_mobile.core.model_folder import (
    MERGE_FILE,
    require_as_merged,
    weight_files,
    weights_sha256,
)
from hydra_mobile.core.safetensors_io import places
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Runtime
from hydra_mobile.runtimes.model_ref import adapter_in, model_at

_STORED = {"BF16": "bf16", "F16": "fp16"}


@dataclass(frozen=True)
class Stage:
    """One model of the chain.

    Attributes:
        name: for people.
        load: makes it ready to run.
        tolerance: how far it may be from the model before it.
        exported: whether it is a program, whose reference can be the golden vectors.
    """

    name: str
    load: Callable[[], Runtime]
    tolerance: Tolerance
    exported: bool = False


def torch_stages(adapter: Path | None, merged: Path | None, bundle: Bundle) -> list[Stage]:
    """Return the adapter and the merged model, as far as they are given.

    Raises:
        ArtifactError: one of them is incomplete, or is not what the next one was made from.
        HydraError: an adapter without its merged model, or a merged model beside a bundle that
            keeps its adapter in a file.
    """
    if "adapters" in bundle.manifest:
        return _unmerged_stages(adapter, merged, bundle)
    if adapter is not None and merged is None:
        merged = adapter / "merged"
        if not merged.is_dir():
            raise HydraError(
                f"{adapter} has no merged/ inside, so there is nothing to compare it with.",
                "Give --merged, or merge it with `hydra-mobile merge`.",
            )
    if merged is None:
        return []
    _require_source_of(merged, bundle)
    stages = []
    if adapter is not None:
        _require_merged_from(merged, adapter)
        stages.append(Stage("adapter", _torch(adapter), TOLERANCES["fp32"]))
    stages.append(Stage("merged", _torch(merged), TOLERANCES[_stored_precision(merged)]))
    return stages


def _unmerged_stages(adapter: Path | None, merged: Path | None, bundle: Bundle) -> list[Stage]:
    """Return the adapter, if it is given, as what a base program with its adapter comes from."""
    if merged is not None:
        raise HydraError(
            f"{bundle.folder} keeps its adapter in a file; no merged model was made of it.",
            "Give --run or --adapter alone.",
        )
    if adapter is None:
        return []
    entry = bundle.manifest["adapters"].get(bundle.adapter, {})
    own = adapter_files(adapter_in(adapter))
    if entry.get("source") != own:
        raise ArtifactError(
            f"Adapter `{bundle.adapter}` of {bundle.folder} was made from another adapter than the "
            f"one in {adapter}.",
            f"Choose with BUNDLE#NAME; it has {', '.join(bundle.manifest['adapters']) or 'none'}.",
        )
    return [Stage("adapter", _torch(adapter), TOLERANCES["fp32"])]


def bundle_stage(bundle: Bundle, *, of: Bundle | None = None) -> Stage:
    """Return a bundle as a stage; with `of`, it must be a lossless one of that bundle's model.

    Raises:
        ArtifactError: the bundle is lossy, or of another merged model.
    """
    if of is not None:
        ours, theirs = (b.manifest["sources"].get("merged_sha256") for b in (bundle, of))
        if ours != theirs:
            raise ArtifactError(
                f"{bundle.folder / MANIFEST} was made from another merged model "
                f"({_short(ours)}) than {of.folder / MANIFEST} ({_short(theirs)}).",
                "Export both from one merged model.",
            )
        if precision_class(bundle.manifest["preset"]) != "fp32":
            raise ArtifactError(
                f"{bundle.folder} has preset `{bundle.preset.name}`; the program between the "
                "merged model and a quantized bundle must be lossless.",
                "Export it with --preset fp32.",
            )
    return Stage(
        model_at(_selected(bundle)).name,
        lambda: runtime_class(bundle.runtime).load(bundle),
        tolerance_of(bundle.manifest["preset"]),
        exported=True,
    )


def _selected(bundle: Bundle) -> str:
    """Return `FOLDER#ADAPTER` of a bundle with adapters, else its folder."""
    return f"{bundle.folder}#{bundle.adapter}" if bundle.adapter else str(bundle.folder)


def device_stage(runtime: Runtime, bundle: Bundle) -> Stage:
    """Return a device that runs the bundle, as a runtime that hands each call over to it.

    The program is the same, but kernels of another instruction set may round 8-bit activations
    otherwise, so the bundle's own tolerance holds.
    """
    return Stage(
        f"device ({runtime.name})",
        lambda: runtime,
        tolerance_of(bundle.manifest["preset"]),
        exported=True,
    )


def _torch(folder: Path) -> Callable[[], Runtime]:
    return lambda: runtime_class("torch").load(folder)


def _require_source_of(merged: Path, bundle: Bundle) -> None:
    expected = bundle.manifest["sources"].get("merged_sha256")
    found = weights_sha256(merged, again=True)
    if found != expected:
        raise ArtifactError(
            f"{bundle.folder / MANIFEST} was exported from another merged model: it names weights "
            f"{_short(expected)}, {merged} has {_short(found)}.",
            "Give the merged folder that it was exported from, or export it again.",
        )


def _require_merged_from(merged: Path, adapter: Path) -> None:
    """Raise unless merge.json names the adapter's files, and the weights are those it wrote."""
    record = read_json(
        merged / MERGE_FILE, "the record of a merge, which `hydra-mobile merge` writes"
    )
    own = adapter_files(adapter_in(adapter))
    if record["sources"]["adapter_files"] != own:
        raise ArtifactError(
            f"{merged} was merged from another adapter than the one in {adapter}.",
            "Merge this adapter, or give the one that was merged.",
        )
    require_as_merged(merged, again=True)


def _stored_precision(folder: Path) -> str:
    """Return the row of the tolerances for weights stored as they are in `folder`."""
    found = {p.dtype for path in weight_files(folder) for p in places(path).values()}
    return next((row for dtype, row in _STORED.items() if dtype in found), "fp32")


def _short(digest: object) -> str:
    return str(digest)[:12] if digest else "of unknown hash"
