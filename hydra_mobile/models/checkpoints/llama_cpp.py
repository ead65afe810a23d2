"""A model as llama.cpp's converters expect it: projector, CLIP and language model apart.

By llama.cpp's guide for MobileVLM (docs/multimodal/MobileVLM.md there). Its own tools make GGUF
files of what is written here; the commands are printed.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import require_free_space, write_json
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.marks import CONVERTED
from hydra_mobile.core.progress import Log
from hydra_mobile.core.safetensors_io import total_bytes, write_tensors
from hydra_mobile.models.checkpoints.base_plan import separate, write_record
from hydra_mobile.models.checkpoints.exported_tokenizer import write_slow_tokenizer
from hydra_mobile.models.checkpoints.exporting import Model, open_model, renamed
from hydra_mobile.models.checkpoints.keys import (
    Layout,
    llama_layout,
    mobilevlm_layout,
    vision_layout,
)
from hydra_mobile.models.checkpoints.known_parts import projector_of, tower_of
from hydra_mobile.models.checkpoints.part_configs import text_fields, vision_fields
from hydra_mobile.models.processor import MobileVLMProcessor

PROJECTOR_FILE = "llava.projector"
_SPARE_BYTES = 20_000_000


def export_llama_cpp(folder: Path, out: Path, *, log: Log = print) -> list[str]:
    """Write what llama.cpp converts.

    `llava.projector` holds the projector in fp32, `clip/` the vision tower and `language/` a plain
    Llama with its tokenizer.

    Args:
        folder: base or merged folder.
        out: folder to write or replace, atomically.
        log: receives a line per step.

    Returns:
        The commands that follow, to be run in llama.cpp's folder.

    Raises:
        ArtifactError: llama.cpp knows no such projector, or converts no such tower.
    """
    model = open_model(folder, log)
    kind = _projector_type(model)
    with folder_atomically(separate(out, folder), mark=CONVERTED) as temporary:
        size = total_bytes(model.files.forms)
        require_free_space(temporary, size + _SPARE_BYTES, "the export")
        _write_projector(model, temporary / PROJECTOR_FILE)
        _write_part(model, vision_layout(), "vision_tower.", temporary / "clip", log)
        write_json(temporary / "clip" / "config.json", _vision_config(model))
        _write_part(model, llama_layout(), "language_model.", temporary / "language", log)
        write_json(temporary / "language" / "config.json", _language_config(model))
        write_slow_tokenizer(folder, model.config, temporary / "language", log)
        write_record(temporary, "llama.cpp", folder)
    return _commands(model, kind, out)


def _projector_type(model: Model) -> str:
    kind, arguments = projector_of(model.config.projector_config)
    name = kind.llama_cpp_name(arguments)
    if name is None:
        details = "".join(f" of {key} {value}" for key, value in arguments.items())
        raise ArtifactError(
            f"{model.folder}: llama.cpp knows no projector "
            f"`{model.config.projector_config['model_type']}`{details}.",
            "It knows ldpnet, ldpnetv2 and an mlp of depth 2.",
        )
    if not tower_of(model.config.vision_config).llama_cpp:
        raise ArtifactError(
            f"{model.folder}: the vision tower is `{model.config.vision_config['model_type']}`, "
            "but llama.cpp's converter for this layout reads CLIP."
        )
    return name


def _write_projector(model: Model, path: Path) -> None:
    layout = mobilevlm_layout(model.config.projector_config)
    _, names = renamed(model, layout, lambda name: name.startswith("projector."))
    # Their converter takes fp32 and rounds what it wants rounded.
    torch.save({key: model.files.read(name).float() for key, name in names.items()}, path)


def _write_part(model: Model, layout: Layout, prefix: str, folder: Path, log: Log) -> None:
    forms, names = renamed(model, layout, lambda name: name.startswith(prefix))
    folder.mkdir()
    log(f"Writing {folder.name}: {len(forms)} tensors, {total_bytes(forms) / 1e9:.2f} GB")

    def read(key: str) -> Tensor:
        return model.files.read(names[key])

    write_tensors(folder / "model.safetensors", forms, read, log)


def _vision_config(model: Model) -> dict[str, Any]:
    return {
        "architectures": [tower_of(model.config.vision_config).architecture],
        **vision_fields(model.config.vision_config),
        # The converter keeps the layers up to this one.
        "mm_vision_select_layer": model.config.vision_config.get("select_layer", -2),
        "torch_dtype": "float32",
    }


def _language_config(model: Model) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **text_fields(model.config.text_config),
        "torch_dtype": model.dtype,
    }


def _commands(model: Model, kind: str, out: Path) -> list[str]:
    image = MobileVLMProcessor.from_pretrained(model.folder).image
    where = out.resolve()
    encoder = [
        *("python", "tools/mtmd/legacy-models/convert_image_encoder_to_gguf.py"),
        *("-m", f"{where / 'clip'}", "--clip-model-is-vision"),
        *("--llava-projector", f"{where / PROJECTOR_FILE}", "--projector-type", kind),
        *("--output-dir", f"{where}"),
        *("--image-mean", *map(str, image.mean)),
        *("--image-std", *map(str, image.std)),
    ]
    language = where / "language.gguf"
    decoder = [
        *("python", "convert_hf_to_gguf.py", f"{where / 'language'}"),
        *("--outfile", f"{language}", "--outtype", "f16"),
    ]
    small = where / "language-q4_k.gguf"
    quantize = ["./llama-quantize", f"{language}", f"{small}", "q4_k_s"]
    return [shlex.join(command) for command in (encoder, decoder, quantize)]
