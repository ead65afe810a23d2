"""The bundle: an exported folder that says everything a phone app needs, and that it is whole.

`manifest.json` names every file with its sha256; the prompt template and the image preprocessing
are data in it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from hydra_mobile.bundle.interface import Limits, TargetResult
from hydra_mobile.bundle.lora_manifest import NO_ADAPTER, selected, split_selection
from hydra_mobile.bundle.manifest import MANIFEST, read_manifest, save_manifest
from hydra_mobile.bundle.presets import Preset
from hydra_mobile.bundle.tolerance import tolerance_of
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.integrity import require_inside, require_recorded
from hydra_mobile.core.typed import Range, decode
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import Template
from hydra_mobile.reporting.notebook import html_facts, html_table

TOKENIZER = "tokenizer.json"
SCHEMA = 1

_KEYS = {
    "target": str,
    "runtime": str,
    "preset": dict,
    "files": dict,
    "template": dict,
    "image": dict,
    "limits": dict,
    "shapes": dict,
    "versions": dict,
    "sources": dict,
    "details": dict,
    "fallbacks": list,
}


#: Keys of `shapes` that every host reads.
_NUMBERS = ("vocab_size", "hidden_size", "image_token_id", "num_image_tokens")
# What is allocated depends on them; the C++ runner has the same bound.
_MOST = 10_000_000
_LATER = (
    "A later version of hydra-mobile may have made the bundle: open it with that one, or export it "
    "again with this one."
)


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of a file."""

    role: str
    bytes: Annotated[int, Range(minimum=0)]
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been opened, and so is complete.

    Attributes:
        folder: where it lies.
        manifest: the content of `manifest.json`, for one adapter where there are several.
        verified: whether the hashes of all files were compared when it was opened.
    """

    folder: Path
    manifest: dict[str, Any] = field(repr=False)
    verified: bool = field(default=False, compare=False)

    @classmethod
    def open(
        cls, folder: Path | str | Bundle, verify_hashes: bool = True, *, again: bool = False
    ) -> Bundle:
        """Read the manifest and check every file that it names.

        Args:
            folder: the bundle; `BUNDLE#NAME` chooses one of its adapters, and the manifest is then
                the one that `lora_manifest.selected` makes for it. An opened bundle is returned as
                it is, but for hashes that are still to be compared.
            verify_hashes: compare sha256 as well as sizes; a second or so for each gigabyte, once
                for each file as long as it does not change.
            again: hash files afresh that were hashed before.

        Raises:
            ArtifactError: no manifest, one that was altered, an unknown schema, a missing key, a
                preset or limits that this version does not know, a file that is missing or whose
                size or hash is not what the manifest says; no such adapter.
        """
        if isinstance(folder, Bundle):
            fresh = again or not (folder.verified or not verify_hashes)
            return folder._verify(again) if fresh else folder
        folder, adapter = split_selection(Path(folder))
        if not folder.is_dir():
            raise ArtifactError(f"{folder} is no folder: expected a bundle.")
        path = folder / MANIFEST
        manifest = read_manifest(folder)
        _check_manifest(path, manifest)
        _check_files(folder, manifest["files"], verify_hashes, again)
        return cls(folder, selected(manifest, adapter, path), verify_hashes)

    def _verify(self, again: bool = False) -> Bundle:
        """Compare the hashes of all files, those of other adapters as well."""
        stored = read_manifest(self.folder)
        _check_files(self.folder, stored["files"], verify_hashes=True, again=again)
        return replace(self, verified=True)

    @property
    def path(self) -> Path:
        """What opens it again: the folder, with `#NAME` for another adapter than the default."""
        adapter = self.adapter
        if adapter == self.manifest.get("default_adapter"):
            return self.folder
        folder = self.folder.absolute()
        return folder.with_name(f"{folder.name}#{adapter or NO_ADAPTER}")

    @property
    def target(self) -> str:
        """Where the program runs, for example "android"."""
        return str(self.manifest["target"])

    @property
    def runtime(self) -> str:
        """What runs it, for example "executorch"; also the name of its `Runtime`."""
        return str(self.manifest["runtime"])

    @property
    def adapter(self) -> str | None:
        """Name of the adapter that was chosen; None: none, or one that is merged in."""
        name: str | None = self.manifest.get("adapter")
        return name

    @property
    def preset(self) -> Preset:
        """Precision of every part."""
        return _preset_of(self.manifest, self.folder / MANIFEST)

    @property
    def limits(self) -> Limits:
        """Length of the cache and of one call."""
        return _limits_of(self.manifest, self.folder / MANIFEST)

    @property
    def shapes(self) -> dict[str, int]:
        """`vocab_size`, `hidden_size`, `layers`, `image_size`, `num_image_tokens`."""
        return dict(self.manifest["shapes"])

    @property
    def size_bytes(self) -> int:
        """Bytes of the program files, golden vectors left out."""
        return sum(
            int(entry["bytes"])
            for entry in self.manifest["files"].values()
            if not str(entry["role"]).startswith("golden")
        )

    @property
    def peak_bytes(self) -> int | None:
        """Most bytes that it takes at once, as computed when it was made; earlier ones lack it."""
        peak = self.manifest.get("footprint", {}).get("peak")
        return None if peak is None else int(peak)

    def _repr_html_(self) -> str:
        facts = (
            ("target", self.target),
            ("runtime", self.runtime),
            ("preset", self.preset.name),
            ("size", f"{self.size_bytes / 1e6:.1f} MB"),
        )
        files = (
            (name, entry["role"], f"{entry['bytes'] / 1e6:.2f} MB")
            for name, entry in self.manifest["files"].items()
        )
        table = html_table(("file", "role", "size"), files)
        return html_facts(f"Bundle {self.path}", facts) + table

    def file(self, role: str) -> Path:
        """Return the file with a role, for example "program".

        Raises:
            ArtifactError: the bundle has none.
        """
        for name, entry in self.manifest["files"].items():
            if entry["role"] == role:
                return self.folder / str(name)
        roles = sorted({str(entry["role"]) for entry in self.manifest["files"].values()})
        raise ArtifactError(
            f"{self.folder / MANIFEST} names no file with role `{role}`; it has {roles}."
        )

    def processor(self) -> MobileVLMProcessor:
        """Return the tokenizer, prompt template and image preprocessing of the bundle."""
        value = {
            "template": self.manifest["template"],
            "image": self.manifest["image"],
            "image_token_id": self.manifest["shapes"]["image_token_id"],
            "num_image_tokens": self.manifest["shapes"]["num_image_tokens"],
        }
        return MobileVLMProcessor.from_dict(
            value, self.folder / TOKENIZER, str(self.folder / MANIFEST)
        )


def _check_manifest(path: Path, manifest: Any) -> None:
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or type(schema) is not int or schema != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(
            f"{path}: key `schema` is {found!r}, expected {SCHEMA}.",
            "Export the bundle again with this version of hydra-mobile.",
        )
    for key, kind in _KEYS.items():
        if not isinstance(manifest.get(key), kind):
            raise ArtifactError(
                f"{path}: key `{key}` is {shown(manifest.get(key))}, expected a {kind.__name__}.",
                "The manifest was altered; export the bundle again.",
            )
    for key in _NUMBERS:
        value = manifest["shapes"].get(key)
        if type(value) is not int or not 0 <= value <= _MOST:
            raise ArtifactError(
                f"{path}: key `shapes.{key}` is {shown(value)}, expected a whole number up to "
                f"{_MOST:,}.",
                "The manifest was altered; export the bundle again.",
            )
    turn = manifest.get("pictures", {"turn": True})
    if not isinstance(turn, dict) or not isinstance(turn.get("turn", True), bool):
        raise ArtifactError(
            f"{path}: key `pictures` is {shown(turn)}, expected whether to `turn` them.",
            "The manifest was altered; export the bundle again.",
        )
    _preset_of(manifest, path)
    _limits_of(manifest, path)
    Template.from_dict(manifest["template"], str(path))
    ImagePreprocessing.from_dict(manifest["image"], str(path))
    if TOKENIZER not in manifest["files"]:
        raise ArtifactError(
            f"{path}: key `files` does not list {TOKENIZER}, which every prompt needs.",
            "The manifest was altered; export the bundle again.",
        )


def _preset_of(manifest: Mapping[str, Any], path: Path) -> Preset:
    return decode(Preset, manifest["preset"], f"{path}, preset", fix=_LATER)


def _limits_of(manifest: Mapping[str, Any], path: Path) -> Limits:
    return decode(Limits, manifest["limits"], f"{path}, limits", fix=_LATER, complete=True)


def _check_files(
    folder: Path, files: Mapping[str, Any], verify_hashes: bool, again: bool = False
) -> None:
    """Raise unless every file is there as the manifest says.

    Links are followed: a hub cache keeps its files elsewhere and links to them.
    """
    fix = "The file was altered, or cut short in a copy; copy or export the bundle again."
    manifest = str(folder / MANIFEST)
    for name, value in files.items():
        require_inside(name, manifest)
        entry = decode(FileEntry, value, f"{manifest}, file `{name}`", fix=_LATER)
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; the manifest names it.", fix)
        size = path.stat().st_size
        if size != entry.bytes:
            raise ArtifactError(f"{path} has {size} bytes, the manifest says {entry.bytes}.", fix)
        if verify_hashes:
            require_recorded(folder, {name: entry.sha256}, "the manifest", fix, again=again)


def write_manifest(
    folder: Path,
    *,
    target: str,
    runtime: str,
    preset: Preset,
    limits: Limits,
    shapes: Mapping[str, int],
    processor: MobileVLMProcessor,
    result: TargetResult,
    other_files: Mapping[str, str],
    sources: Mapping[str, Any],
    requires: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    footprint: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write `tokenizer.json` and the manifest that closes a bundle, and return the manifest.

    Args:
        folder: holds the program files already.
        target: for example "android".
        runtime: for example "executorch".
        preset: precision of every part.
        limits: of the program.
        shapes: numbers a host needs to call the program.
        processor: its tokenizer is written, its template and preprocessing go into the manifest.
        result: what the target returned; each file may be a folder or have siblings, which then
            share its role by listing them in `result.files` under their own role names.
        other_files: relative path -> role of files that are not the target's, golden vectors.
        sources: where the weights come from: hash of the merged weights, name of the base.
        requires: what the bundle needs of a machine.
        sizes: what the memory estimate needs beside `shapes`.
        footprint: computes the key `footprint` from all the others.
    """
    processor.tokenizer.save(str(folder / TOKENIZER))
    roles = {path: role for role, path in result.files.items()}
    roles |= {TOKENIZER: "tokenizer", **other_files}
    files = {
        name: {
            "role": role,
            "bytes": (folder / name).stat().st_size,
            "sha256": sha256_of(folder / name),
        }
        for name, role in sorted(roles.items())
    }
    manifest = {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "target": target,
        "runtime": runtime,
        "preset": preset.to_dict(),
        "tolerance": tolerance_of(preset.to_dict()).to_dict(),
        "limits": limits.to_dict(),
        "shapes": {
            **shapes,
            "image_token_id": processor.image_token_id,
            "num_image_tokens": processor.num_image_tokens,
        },
        "template": processor.template.to_dict(),
        "image": processor.image.to_dict(),
        # How a host reads picture files unless a batch says otherwise: `models/pictures.py`.
        "pictures": {"turn": True},
        "stop_ids": processor.stop_ids,
        "files": files,
        "versions": dict(result.versions),
        "sources": dict(sources),
        "details": result.details,
        "fallbacks": list(result.fallbacks),
    }
    if requires:
        manifest["requires"] = dict(requires)
    if sizes is not None:
        manifest["sizes"] = dict(sizes)
    if footprint is not None:
        manifest["footprint"] = dict(footprint(manifest))
    save_manifest(folder, manifest)
    return manifest
