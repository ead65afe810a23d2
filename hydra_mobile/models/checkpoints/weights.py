"""A checkpoint's weight files: what they hold, and one tensor at a time.

Sharded or single, safetensors or `pytorch_model.bin` (only tensors are unpickled). One file is open
at a time, mapped into memory, so a checkpoint larger than memory can be read.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.core.boundaries import FOREIGN, reading, reason_of, shown
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json
from hydra_mobile.core.progress import Log
from hydra_mobile.core.safetensors_io import DTYPES, Form, open_tensors, total_bytes, unknown_dtype

# In the order in which they are looked for.
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLES = ("model.safetensors", "pytorch_model.bin")
_PROJECTOR_ALONE = "mm_projector.bin"


def weight_paths(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint folder; safetensors are preferred.

    Raises:
        ArtifactError: there are none, or the index names a file that is missing.
    """
    for index_name, single in zip(_INDEXES, _SINGLES, strict=True):
        if (folder / index_name).is_file():
            index = read_foreign_json(folder / index_name, "an index of weight files")
            names = index.get("weight_map")
            if not isinstance(names, dict):
                raise ArtifactError(f"{folder / index_name} has no `weight_map`.")
            for name, file in names.items():
                # A hub cache's files are links: names are looked at, not where they lead.
                if not isinstance(file, str) or Path(file).name != file or "\0" in file:
                    raise ArtifactError(
                        f"{folder / index_name}: `weight_map` has {shown(file)} for {shown(name)}, "
                        "expected the name of a file beside it.",
                        "Download the checkpoint again.",
                    )
            paths = [folder / name for name in sorted(set(names.values()))]
            with reading(folder / index_name, "the names of weight files"):
                missing = [path.name for path in paths if not path.is_file()]
            if missing:
                raise ArtifactError(
                    f"{folder / index_name} names {len(missing)} file(s) that are not there, for "
                    f"example {missing[0]}.",
                    "The download is incomplete: fetch the missing files.",
                )
            return paths
        if (folder / single).is_file():
            return [folder / single]
    if (folder / _PROJECTOR_ALONE).is_file():
        raise ArtifactError(
            f"{folder} holds a projector alone ({_PROJECTOR_ALONE}), as LLaVA's first stage saves "
            "it, and no language model.",
            "Give the folder of its second stage, or load both in LLaVA and save the whole model "
            "with `save_pretrained`.",
            where=str(folder / _PROJECTOR_ALONE),
        )
    raise ArtifactError(
        f"{folder} has no weights: expected one of {', '.join(_INDEXES + _SINGLES)}."
    )


class WeightFiles:
    """The tensors of a checkpoint folder by name.

    Attributes:
        folder: where they are.
        forms: dtype and shape by name, in the order of the files, which is the fastest to read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forms: dict[str, Form] = {}
        self._place: dict[str, Path] = {}
        self._opened: tuple[Path, Callable[[str], Tensor]] | None = None
        for path in weight_paths(folder):
            forms, _ = _open(path)
            for name, form in forms.items():
                if name in self._place:
                    raise ArtifactError(
                        f"{folder}: `{name}` is in {self._place[name].name} and in {path.name}."
                    )
                self._place[name] = path
                self.forms[name] = form

    def read(self, name: str) -> Tensor:
        """Return one tensor; its memory belongs to the file as long as that is open."""
        path = self._place[name]
        if self._opened is None or self._opened[0] != path:
            self._opened = None  # unmap the last file before the next one is mapped
            self._opened = (path, _open(path)[1])
        return self._opened[1](name)


def open_weights(folder: Path, log: Log) -> WeightFiles:
    """Return the tensors of a checkpoint folder, saying what they are."""
    files = WeightFiles(folder)
    size = total_bytes(files.forms) / 1e9
    log(f"{folder.name}: {len(files.forms)} tensors, {size:.2f} GB")
    return files


def _open(path: Path) -> tuple[dict[str, Form], Callable[[str], Tensor]]:
    """Return what a file holds and a reader of one of its tensors."""
    if path.suffix == ".safetensors":
        return open_tensors(path)
    tensors = _load_bin(path)
    forms = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArtifactError(
                f"{path}: `{name}` is a {type(tensor).__name__}, expected a tensor.",
                "Expected the weights of a model, not the state of a training run.",
            )
        if tensor.dtype not in DTYPES.values():
            raise unknown_dtype(path, name, tensor.dtype)
        forms[name] = Form(tensor.dtype, tuple(tensor.shape))
    return forms, lambda name: tensors[name]


def _load_bin(path: Path) -> dict[str, Any]:
    try:
        # Files of before 2020 are no zip archives and cannot be mapped: one is read whole.
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path} holds more than tensors, and unpickling it could run code: refused "
            f"({str(error).splitlines()[0]}).",
            "Ask for the weights as safetensors, or save its tensors again where you trust it.",
        ) from error
    except FOREIGN as error:
        raise ArtifactError(
            f"{path} is no readable weight file: {reason_of(error)}.",
            "It was cut short, or is a pointer to the file: download it again.",
        ) from error
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{path} holds a {type(loaded).__name__}, expected tensors by name.")
    return loaded
