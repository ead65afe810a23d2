"""Named bases: what `--base NAME` means and where its folder is.

A base is one Hugging Face folder of a known family. A new base is one builder and one line in
`BASES`. Checkpoints that MobileVLM's class can be made from are imported once, into the cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, read_json, tilde, write_json
from hydra_mobile.core.folders import folder_atomically, recover
from hydra_mobile.core.hub_id import at_revision, is_hub_id
from hydra_mobile.core.integrity import hashes_of, plain_files, require_recorded
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.made_once import alone
from hydra_mobile.core.model_folder import IMPORT_FILE, read_config
from hydra_mobile.core.registry import nearest, resolve
from hydra_mobile.models.checkpoints.hub import checkpoint_folder
from hydra_mobile.models.families import find_family
from hydra_mobile.models.published import PUBLISHED

_NAMED = "hydra_mobile.models.checkpoints.published:"
#: name -> "module:function"; the function fills an empty folder.
BASES = {
    "smol": "hydra_mobile.models.smol:build",
    "smolvlm-smol": "hydra_mobile.models.smolvlm_smol:build",
    "tiny": "hydra_mobile.models.tiny:build",
    "mobilevlm-1.7b": f"{_NAMED}mobilevlm_1_7b",
    "mobilevlm-3b": f"{_NAMED}mobilevlm_3b",
    "mobilevlm-v2-1.7b": f"{_NAMED}mobilevlm_v2_1_7b",
    "mobilevlm-v2-3b": f"{_NAMED}mobilevlm_v2_3b",
    "mobilellama-1.4b-ldp": f"{_NAMED}mobilellama_1_4b_ldp",
    "mobilellama-2.7b-ldp": f"{_NAMED}mobilellama_2_7b_ldp",
    "mobilellama-1.4b-ldpv2": f"{_NAMED}mobilellama_1_4b_ldpv2",
    "mobilellama-2.7b-ldpv2": f"{_NAMED}mobilellama_2_7b_ldpv2",
}

#: Base -> what -> license, of the weights that a named base begins with.
LICENSES: dict[str, dict[str, str]] = {
    "smol": {"SmolLM2-135M-Instruct": "Apache-2.0", "EfficientNet-Lite0": "Apache-2.0"},
    "smolvlm-smol": {"SmolLM2-135M-Instruct": "Apache-2.0"},
}

Log = Callable[[str], None]


def cached_base(name: str) -> Path:
    """Return where the folder of a named base is or would be."""
    return cache_home() / "bases" / name


def fetch(name: str, log: Log = print, revision: str = "") -> Path:
    """Make the folder of a named base, or return it at once where it exists.

    Args:
        name: key of `BASES`.
        log: receives a line for each step.
        revision: commit of the hub that the base is to be of; one of another commit in the cache
            stays beside it. "": the one in the cache, else the newest.

    Raises:
        HydraError: unknown name; a download has a wrong hash or the hub cannot be reached; no
            disk space.
    """
    folder = cached_base(name)
    recover(folder)
    pinned = bool(revision) and name in PUBLISHED
    if pinned and _revision_in(folder) != revision:
        folder = cached_base(f"{name}@{revision[:12]}")
        recover(folder)
    if name in BASES and _complete(folder):
        _require_as_made(folder)
        return folder
    # Only now: the builders import torch and transformers, which takes seconds.
    build = resolve("base", name, BASES)
    if pinned:
        build = functools.partial(build, revision=revision)
    with alone(folder):
        if not _complete(folder):
            with folder_atomically(folder, mark=None) as temporary:
                build(temporary, log)
            _record(folder)
    return folder


def base_folder(name_or_folder: str, log: Log = print, revision: str = "") -> Path:
    """Return the folder of a base given by name, path or hub id.

    A named base is fetched when absent. The folder of a family's own class is taken as it is. A
    checkpoint of MobileVLM's or LLaVA's own code is imported into the cache when it was not yet,
    or has changed since.

    Args:
        name_or_folder: of the base.
        log: receives a line for each step.
        revision: commit that a record gives for it: what a name or a branch means at the hub today
            may be something else. A folder is taken as it is.

    Raises:
        ArtifactError: neither a known name nor a folder with a `config.json` nor a hub id; or a
            checkpoint that cannot be imported.
        HydraError: the hub cannot be reached, or has no such repository.
    """
    if name_or_folder in BASES:
        return fetch(name_or_folder, log, revision)
    folder = tilde(Path(name_or_folder))
    hub = is_hub_id(name_or_folder)
    if hub:
        folder = checkpoint_folder(at_revision(name_or_folder, revision), "a base", log)
    if (folder / "config.json").is_file():
        config = read_config(folder / "config.json", "the configuration of a base")
        if find_family(config) is not None:
            return folder
        called = name_or_folder.partition("@")[0] if hub else folder.resolve().name
        return _imported(folder, called, log)
    raise ArtifactError(
        f"The base `{name_or_folder}` is neither a name nor a folder with a config.json.",
        nearest(name_or_folder, BASES),
    )


def _imported(source: Path, name: str, log: Log) -> Path:
    """Return the base that another project's checkpoint was imported to."""
    from hydra_mobile.models.checkpoints.importing import fill_from_checkpoint

    source = source.resolve()
    folder = cached_base(f"imported-{source.name}-{_digest(source)}")
    if _complete(folder):
        _require_as_made(folder)
        return folder
    with alone(folder):
        if not _complete(folder):
            log(f"Importing {source} (once)")
            with folder_atomically(folder, mark=None) as temporary:
                fill_from_checkpoint(temporary, source, vision="", name=name, log=log)
            _record(folder)
    return folder


def _revision_in(folder: Path) -> str:
    """Return the commit that a base of the cache was imported from; "" where none is known."""
    if not (folder / IMPORT_FILE).is_file():
        return ""
    record = read_json(folder / IMPORT_FILE, "the record of an import")
    return str(record.get("revision", "")) if isinstance(record, dict) else ""


def _record_of(folder: Path) -> Path:
    """Return the record of a base in the cache. It lies beside: a copy is its owner's to edit."""
    return folder.parent / f".{folder.name}.files.json"


def _record(folder: Path) -> None:
    files = hashes_of(folder, plain_files(folder))
    write_json(_record_of(folder), {"schema": 1, "files": files})


def _require_as_made(folder: Path) -> None:
    """Compare a base of the cache with its record; one from before there were records gets it."""
    record = _record_of(folder)
    if not record.is_file():
        # A cache that cannot be written is read as it is.
        with contextlib.suppress(HydraError), alone(folder):
            _record(folder)
        return
    fix = f"Remove the folder {folder} and {record}; the base is made anew then."
    files = read_json(record, "the hashes of a base").get("files", {})
    require_recorded(folder, files, str(record), fix)


def _digest(source: Path) -> str:
    """Return a short hash that changes when a checkpoint's files do; weights are not read."""
    files = sorted(path for path in source.iterdir() if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    config = (source / "config.json").read_bytes()
    return hashlib.sha256(config + dumps(facts).encode()).hexdigest()[:12]


def _complete(folder: Path) -> bool:
    return (folder / "config.json").is_file()
