"""LFM2-VL and LFM2.5-VL: SigLIP 2 on patches, unshuffle and two linears; short convolutions.

Fixed mode: one picture, stretched to the square of one tile, on twice the grid that positions are
stored for. The published checkpoints read pictures in their own shape, and tiles of large ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stated
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.rows import RowLayout
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel

_AROUND = Around("<image>", before="<|image_start|>", after="<|image_end|>")


class Lfm2VL(Family):
    """transformers' LFM2-VL class."""

    title = "LFM2-VL, LFM2.5-VL"
    model_types = ("lfm2_vl",)
    tested = "random weights; pixels are not compared, its image processor needs torchvision"

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        inner = model.model
        tower = GridTower(inner.vision_tower)
        grid = tower.grid
        count = grid * grid
        return SplitModel(
            model,
            tower=tower,
            connector=inner.multi_modal_projector,
            text=inner.language_model,
            head=model.lm_head,
            image_size=grid * tower.patch,
            image_tokens=count // int(model.config.downsample_factor) ** 2,
            picture_inputs=lambda pixels: {
                "pixel_values": tower.patches(pixels),
                "spatial_shapes": torch.tensor([[grid, grid]] * len(pixels)),
                "pixel_attention_mask": torch.ones(len(pixels), count, dtype=torch.long),
            },
            layout=RowLayout(int(model.config.text_config.hidden_size)),
            grid=(grid, grid),
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        config = self.config_of(read_settings(folder / "config.json"))
        vision = config.vision_config
        grid = _grid(vision)
        image = stated(folder, grid * int(vision.patch_size))
        tokens = grid**2 // int(config.downsample_factor) ** 2
        return derived_processor(folder, image, _AROUND, tokens)


class GridTower(nn.Module):
    """The tower for one square grid: its resized positions are a constant."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        inner = getattr(tower, "vision_model", tower)
        own = inner.embeddings
        self.projection, self.encoder = own.patch_embedding, inner.encoder
        self.norm = inner.post_layernorm
        self.patch, self.grid = int(inner.config.patch_size), _grid(inner.config)
        self.num_patches = self.grid**2
        self.feature_size = int(inner.config.hidden_size)
        table = own.position_embedding.weight.detach()
        side = round(table.shape[0] ** 0.5)
        # As transformers resizes them, which an exported program has no kernel for.
        resized = nn.functional.interpolate(
            table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2),
            size=(self.grid, self.grid),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        positions = resized.flatten(2).transpose(1, 2).to(table.dtype)
        self.register_buffer("positions", positions.contiguous(), persistent=False)

    def patches(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to patches [B, P, patch * patch * 3], channels last."""
        grid, patch = self.grid, self.patch
        x = pixels.reshape(-1, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, grid * grid, patch * patch * 3)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        x = self.projection(self.patches(pixels)) + self.positions
        features: Tensor = self.norm(
            self.encoder(inputs_embeds=x, attention_mask=None).last_hidden_state
        )
        return features


def _grid(vision: Any) -> int:
    grid: int = 2 * round(int(vision.num_patches) ** 0.5)
    return grid
