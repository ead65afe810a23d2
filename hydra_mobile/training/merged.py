"""The result of full fine-tuning: a whole model folder, as a merge would write it.

There is no adapter to fold in; the trained weights replace the base's.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from hydra_mobile.core.files import write_json
from hydra_mobile.core.folders import folder_atomically
from hydra_mobile.core.integrity import hashes_of, plain_files
from hydra_mobile.core.model_folder import MERGE_FILE, MERGED
from hydra_mobile.models.checkpoints.base_plan import ORIGINAL_CONFIG, TOKENIZER_MODEL
from hydra_mobile.models.families import family_of
from hydra_mobile.models.hub_files import write_generation_config
from hydra_mobile.models.loading import without_progress_bars
from hydra_mobile.models.model_card import CARD, merged_card
from hydra_mobile.models.tiles import write_tiles
from hydra_mobile.training.setup import TrainingModel


def write_merged(setup: TrainingModel, out: Path, policy: str) -> None:
    """Write the trained model to `out`, atomically, in fp32.

    Args:
        setup: holds the trained model and its base.
        out: folder to write or replace.
        policy: how it was trained, for the record.
    """
    with folder_atomically(out, mark=MERGED) as temporary:
        with without_progress_bars():
            setup.model.to(torch.float32).whole.save_pretrained(temporary)
        if family_of(setup.base_folder).derives_prompts:
            _copy_beside_weights(setup.base_folder, temporary)
            write_tiles(temporary, setup.processor.image.tiles)
        else:
            setup.processor.save_pretrained(temporary)
            write_generation_config(temporary, setup.processor)
        # What the way back to another project's layout needs of the checkpoint before the import.
        for name in (ORIGINAL_CONFIG, TOKENIZER_MODEL):
            if (setup.base_folder / name).is_file():
                shutil.copyfile(setup.base_folder / name, temporary / name)
        base = {"name": setup.base.name, "sha256": setup.base.sha256}
        training = "Trained with hydra-mobile: every weight of the language model."
        card = merged_card({"base": base}, training, setup.processor.template.name)
        (temporary / CARD).write_text(card, encoding="utf-8")
        write_json(
            temporary / MERGE_FILE,
            {
                "schema": 1,
                "out": out.name,
                "sources": {
                    "base": base,
                    "policy": policy,
                },
                "files": hashes_of(temporary, plain_files(temporary)),
            },
        )


def _copy_beside_weights(base: Path, folder: Path) -> None:
    """Copy tokenizer, template and settings of a base, which transformers has not written."""
    for name in plain_files(base):
        if not (folder / name).exists() and not name.startswith("model"):
            shutil.copyfile(base / name, folder / name)
