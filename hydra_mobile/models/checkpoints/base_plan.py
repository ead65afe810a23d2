"""A base as it will be written, and the writing: the last step of every import."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import require_free_space, write_json
from hydra_mobile.core.marks import CONVERTED_FILE
from hydra_mobile.core.model_folder import IMPORT_FILE, revision_of
from hydra_mobile.core.progress import Log
from hydra_mobile.core.safetensors_io import total_bytes
from hydra_mobile.models.checkpoints.known_parts import tower_of
from hydra_mobile.models.checkpoints.tensor_map import Matched
from hydra_mobile.models.checkpoints.tokenizers import folder_tokenizer
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.save import write_streamed_base

#: What a base remembers of where it came from; the way back needs them.
ORIGINAL_CONFIG = "original_config.json"
TOKENIZER_MODEL = "tokenizer.model"
_RECORD = IMPORT_FILE
_SPARE_BYTES = 20_000_000


@dataclass(frozen=True)
class Plan:
    """A base as it will be written.

    Attributes:
        config: of the model; `num_image_tokens` and the base's identity are filled in later.
        matched: where each tensor comes from.
        tokenizer_folder: the checkpoint whose tokenizer is used.
        template: name of the template.
        fit: how pictures become squares, see `ImagePreprocessing`.
        kept: files of the checkpoint that the way back needs: content by name.
    """

    config: MobileVLMConfig
    matched: Matched
    tokenizer_folder: Path
    template: str = "v1"
    fit: Literal["pad", "crop"] = "pad"
    kept: Mapping[str, bytes] | None = None


def write_plan(folder: Path, plan: Plan, name: str, log: Log) -> None:
    """Fill the empty `folder` with a base, one tensor at a time."""
    from hydra_mobile.models.preprocessing import ImagePreprocessing
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.templates import template_named

    config, matched = plan.config, plan.matched
    text: Any = config.text_config
    # 0 stands for "not said": no checkpoint has its image token there.
    tokenizer, config.image_token_id = folder_tokenizer(
        plan.tokenizer_folder, text.vocab_size, log, config.image_token_id or None
    )
    tower = tower_of(config.vision_config)
    processor = MobileVLMProcessor(
        tokenizer,
        template_named(plan.template),
        ImagePreprocessing(config.vision_config["image_size"], tower.mean, tower.std, fit=plan.fit),
        image_token_id=config.image_token_id,
        num_image_tokens=config.num_image_tokens,
    )
    size = total_bytes(matched.forms)
    require_free_space(folder, size + _SPARE_BYTES, f"base {name}")
    log(f"Writing {len(matched.forms)} tensors, {size / 1e9:.2f} GB")
    write_streamed_base(folder, name, config, processor, matched.forms, matched.read, log)
    for file, content in (plan.kept or {}).items():
        (folder / file).write_bytes(content)
    model = plan.tokenizer_folder / TOKENIZER_MODEL
    if model.is_file():
        (folder / TOKENIZER_MODEL).write_bytes(model.read_bytes())
    write_json(
        folder / _RECORD,
        {
            "name": name,
            "revision": revision_of(plan.tokenizer_folder),
            "tensors": len(matched.forms),
            "ignored": matched.ignored,
        },
    )
    _tell_ignored(matched.ignored, log)


def _tell_ignored(ignored: Sequence[str], log: Log) -> None:
    """List what was left out, the same tensor of many layers in one line."""
    if not ignored:
        log("Every tensor of the checkpoint was used")
        return
    log(f"Ignored {len(ignored)} tensors ({_RECORD} lists them all):")
    groups = Counter(re.sub(r"\.\d+\.", ".*.", entry) for entry in ignored)
    for entry, count in groups.items():
        log(f"  {entry}" + (f" in {count} places" if count > 1 else ""))


def source_name(source: str, folder: Path) -> str:
    """Return a hub id as it is, and only the last part of a path."""
    return folder.resolve().name if Path(source).exists() else source


def write_record(folder: Path, layout: str, source: Path) -> None:
    """Write into a checkpoint of another project's layout that we made it, and from what."""
    write_json(folder / CONVERTED_FILE, {"schema": 1, "layout": layout, "source": source.name})


def separate(out: Path, *sources: Path) -> Path:
    """Return `out`; raise where writing it would replace one of its sources."""
    for source in sources:
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise ArtifactError(
                f"The base would replace {source}, which it is made from.", "Choose another --out."
            )
    return out
