"""Named bases: what `--base NAME` means and where its folder is.

A base is one Hugging Face folder that `MobileVLMForConditionalGeneration.from_pretrained` loads.
A new base is one builder and one line in `BASES`. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hydra_mobile.errors import ArtefactError
from hydra_mobile.files import cache_home, folder_atomically, read_json
from hydra_mobile.registry import nearest, resolve

#: name -> "module:function"; the function fills an empty folder.
BASES = {
    "smol": "hydra_mobile.models.smol:build",
    "tiny": "hydra_mobile.models.tiny:build",
}

Log = Callable[[str], None]


def cached_base(name: str) -> Path:
    """Return where the folder of a named base is or would be."""
    return cache_home() / "bases" / name


def fetch(name: str, log: Log = print) -> Path:
    """Make the folder of a named base, or return it at once where it exists.

    Raises:
        HydraError: unknown name; a download has a wrong hash; no disk space.
    """
    folder = cached_base(name)
    if name in BASES and (folder / "config.json").is_file():
        return folder
    # Only now: the builders import torch and transformers, which takes seconds.
    build = resolve("base", name, BASES)
    with folder_atomically(folder) as temporary:
        build(temporary, log)
    return folder


def base_folder(name_or_folder: str, log: Log = print) -> Path:
    """Return the folder of a base given by name or path; a named base is fetched when absent.

    Raises:
        ArtefactError: neither a known name nor a folder with a `config.json`.
    """
    if name_or_folder in BASES:
        return fetch(name_or_folder, log)
    folder = Path(name_or_folder)
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json", "the configuration of a MobileVLM")
        if config.get("model_type") != "mobile_vlm":
            raise ArtefactError(
                f"{folder / 'config.json'}: model_type is {config.get('model_type')!r}, "
                "expected 'mobile_vlm'."
            )
        return folder
    raise ArtefactError(
        f"The base `{name_or_folder}` is neither a name nor a folder with a config.json.",
        nearest(name_or_folder, BASES),
    )
