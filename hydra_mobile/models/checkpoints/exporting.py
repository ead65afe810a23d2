"""A base or merged folder written in another project's layout: the way back of an import.

Tensors are copied bit by bit under their other names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_foreign_json, require_free_space, write_json
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.marks import CONVERTED
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.core.progress import Log
from hydra_mobile.core.safetensors_io import Form, total_bytes, write_tensors
from hydra_mobile.models.checkpoints.base_plan import (
    ORIGINAL_CONFIG,
    separate,
    write_record,
)
from hydra_mobile.models.checkpoints.exported_tokenizer import (
    write_fast_tokenizer,
    write_llava_processor,
    write_slow_tokenizer,
)
from hydra_mobile.models.checkpoints.keys import (
    Layout,
    llava_layout,
    mobilevlm_layout,
)
from hydra_mobile.models.checkpoints.llava import ROW_MULTIPLE, write_llava
from hydra_mobile.models.checkpoints.mobilevlm import write_original
from hydra_mobile.models.checkpoints.pickled import write_pickled
from hydra_mobile.models.checkpoints.weights import WeightFiles, open_weights
from hydra_mobile.models.configuration import MobileVLMConfig

#: What `convert` can write.
LAYOUTS = ("llava", "llama.cpp", "mobilevlm")
_EMBEDDINGS = "language_model.model.embed_tokens.weight"
_HEAD = "language_model.lm_head.weight"
_SPARE_BYTES = 20_000_000


@dataclass(frozen=True)
class Model:
    """A base or merged folder, opened.

    Attributes:
        folder: where it is.
        config: of the model.
        files: its tensors.
        imported: config.json of the checkpoint that it was imported from, where there was one.
    """

    folder: Path
    config: MobileVLMConfig
    files: WeightFiles
    imported: dict[str, Any] | None

    @property
    def dtype(self) -> str:
        """Dtype of the language model, for example "float16"."""
        return str(self.files.forms[_EMBEDDINGS].dtype).removeprefix("torch.")


def open_model(folder: Path, log: Log) -> Model:
    """Open a base or merged folder.

    Raises:
        ArtifactError: it is another project's, or incomplete.
    """
    file = folder / "config.json"
    stored = read_config(file, "the configuration of a base or merged model")
    if stored.get("model_type") != MobileVLMConfig.model_type:
        raise ArtifactError(
            f"{file}: model_type is {stored.get('model_type')!r}, expected "
            f"{MobileVLMConfig.model_type!r}.",
            "Give a base folder, or a run's merged folder.",
        )
    imported = None
    if (folder / ORIGINAL_CONFIG).is_file():
        imported = read_foreign_json(
            folder / ORIGINAL_CONFIG, "the configuration before the import"
        )
    config = MobileVLMConfig.from_dict(stored)
    return Model(folder, config, open_weights(folder, log), imported)


def export_mobilevlm(folder: Path, out: Path, *, pickled: bool = False, log: Log = print) -> None:
    """Write a model as a checkpoint of MobileVLM's own code.

    Args:
        folder: base or merged folder.
        out: folder to write or replace, atomically.
        pickled: write `pytorch_model.bin` files in place of safetensors.
        log: receives a line per step.

    Raises:
        ArtifactError: a part of the model does not exist in that code.
    """
    model = open_model(folder, log)
    config = write_original(model.config, model.imported, model.dtype)
    forms, names = renamed(model, mobilevlm_layout(model.config.projector_config))
    with folder_atomically(separate(out, folder), mark=CONVERTED) as temporary:
        require_free_space(temporary, total_bytes(forms) + _SPARE_BYTES, "the export")
        log(f"Writing {len(forms)} tensors, {total_bytes(forms) / 1e9:.2f} GB")

        def read(key: str) -> Tensor:
            return model.files.read(names[key])

        if pickled:
            write_pickled(temporary, forms, read, log)
        else:
            write_tensors(temporary / "model.safetensors", forms, read, log)
        write_json(temporary / "config.json", config)
        write_record(temporary, "mobilevlm", folder)
        write_slow_tokenizer(folder, model.config, temporary, log)


def export_llava(folder: Path, out: Path, *, log: Log = print) -> None:
    """Write a model as transformers' `LlavaForConditionalGeneration`.

    The embedding table and the head get rows of zeros where the image token lies behind them,
    because transformers looks every id up.

    Args:
        folder: base or merged folder with an mlp projector of depth 2.
        out: folder to write or replace, atomically.
        log: receives a line per step.

    Raises:
        ArtifactError: the projector or the tower does not exist in that class.
    """
    model = open_model(folder, log)
    text: Any = model.config.text_config
    rows = text.vocab_size
    if model.config.image_token_id >= rows:
        rows = -(-(model.config.image_token_id + 1) // ROW_MULTIPLE) * ROW_MULTIPLE
    config = write_llava(model.config, rows, model.dtype)
    forms, names = renamed(model, llava_layout(model.config.projector_config))
    for key, name in names.items():
        if name in (_EMBEDDINGS, _HEAD):
            forms[key] = Form(forms[key].dtype, (rows, text.hidden_size))

    def read(key: str) -> Tensor:
        tensor = model.files.read(names[key])
        more = forms[key].shape[0] - tensor.shape[0] if tensor.dim() else 0
        return torch.cat([tensor, tensor.new_zeros(more, *tensor.shape[1:])]) if more else tensor

    with folder_atomically(separate(out, folder), mark=CONVERTED) as temporary:
        require_free_space(temporary, total_bytes(forms) + _SPARE_BYTES, "the export")
        log(f"Writing {len(forms)} tensors, {total_bytes(forms) / 1e9:.2f} GB")
        write_tensors(temporary / "model.safetensors", forms, read, log)
        write_json(temporary / "config.json", config)
        write_record(temporary, "llava", folder)
        write_fast_tokenizer(folder, model.config, temporary)
        write_llava_processor(folder, model.config, temporary)


def renamed(
    model: Model, layout: Layout, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, Form], dict[str, str]]:
    """Return dtype and shape, and our name, of each tensor by its key in a layout.

    Raises:
        ArtifactError: the layout has no place for a tensor.
    """
    forms, names, left = {}, {}, []
    for name, form in model.files.forms.items():
        if not wanted(name):
            continue
        key = layout.theirs(name)
        if key is None:
            left.append(name)
        else:
            forms[key], names[key] = form, name
    if left:
        raise ArtifactError(
            f"{model.folder}: {len(left)} tensors have no place in that layout, for example "
            f"`{left[0]}`."
        )
    return forms, names
