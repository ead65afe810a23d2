"""The files of an adapter folder: their names, and what they say of its kind.

Without torch and peft, whose import takes seconds: processes that answer with a bundle only ask
which model a folder holds.
"""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.core.files import read_json
from hydra_mobile.core.integrity import hashes_of

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
#: Our record of what the folder holds.
HYDRA_FILE = "hydra.json"
PICKLED_FILE = "adapter_model.bin"
#: What LLaVA's trainer saves beside LoRA: the projector.
LLAVA_FILE = "non_lora_trainables.bin"


def is_plain_peft(folder: Path) -> bool:
    """Whether an adapter folder is stock peft's: it has no record, nor files that one names."""
    named = [folder / HYDRA_FILE, *folder.glob("projector.safetensors")]
    return (folder / CONFIG_FILE).is_file() and not any(path.is_file() for path in named)


def plain_tensors(folder: Path) -> str:
    """Return the name of the tensors' file of stock peft's adapter."""
    pickled = not (folder / TENSOR_FILE).exists() and (folder / PICKLED_FILE).exists()
    return PICKLED_FILE if pickled else TENSOR_FILE


def beside(folder: Path) -> list[str]:
    """Return the names of files that another trainer saved beside stock peft's."""
    return [LLAVA_FILE] if (folder / LLAVA_FILE).is_file() else []


def adapter_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of an adapter's files by name: of its record, or of stock peft's files.

    Raises:
        ArtifactError: the folder holds no adapter.
    """
    if is_plain_peft(folder):
        return hashes_of(folder, [CONFIG_FILE, plain_tensors(folder), *beside(folder)])
    record = read_json(
        folder / HYDRA_FILE, "a finished adapter (go on with `hydra-mobile train --resume`)"
    )
    files: dict[str, str] = record["files"]
    return files
