"""InternVL 3 and 3.5: InternViT, pixel shuffle, a norm and two linears, Qwen2 or Qwen3.

One picture, stretched to the square of one tile, or to a grid of tiles with a thumbnail behind
them. The published checkpoints choose the grid, of up to twelve tiles, by the picture's shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.tiles import Grid, Tiles
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel


class InternVL(Family):
    """transformers' InternVL class (`-hf` checkpoints)."""

    title = "InternVL 3, InternVL 3.5"
    model_types = ("internvl",)
    tested = "random weights, text models Qwen2 and Qwen3"

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        config, inner = model.config, model.model
        layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
        if layer != -1 or strategy != "default":
            raise ArtifactError(
                f"config.json: vision_feature_layer is {layer} and vision_feature_select_strategy "
                f"{strategy!r}, expected -1 and 'default'.",
                "Only the last layer's patches, without the class token, are read.",
            )
        tower = ShuffledTower(inner.vision_tower, round(1 / config.downsample_ratio))
        return SplitModel(
            model,
            tower=tower,
            connector=inner.multi_modal_projector,
            text=inner.language_model,
            head=model.lm_head,
            image_size=_side(config.vision_config.image_size),
            image_tokens=tower.num_patches,
            picture_inputs=lambda pixels: {"pixel_values": pixels},
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        return self._processor(folder, {"crop_to_patches": False})

    def tiled_processor(self, folder: Path, grid: Grid) -> MobileVLMProcessor:
        """Return the processor for a grid of tiles; nothing is written between them."""
        tiles = Tiles(grid.rows, grid.columns, "image", ("",) * (grid.rows * grid.columns + 1))
        count = grid.rows * grid.columns
        cropping = {"crop_to_patches": True, "min_patches": count, "max_patches": count}
        return self._processor(folder, cropping, tiles)

    def _processor(
        self, folder: Path, mode: dict[str, Any], tiles: Tiles | None = None
    ) -> MobileVLMProcessor:
        config = self.config_of(read_settings(folder / "config.json"))
        vision = config.vision_config
        side, patch = _side(vision.image_size), _side(vision.patch_size)
        size = {"height": side, "width": side}
        fixed = {**mode, "size": size}
        image = stretched(folder, side, "GotOcr2ImageProcessorPil", fixed, tiles=tiles)
        tokens = (side // patch // round(1 / config.downsample_ratio)) ** 2
        return derived_processor(folder, image, Around("<IMG_CONTEXT>", "<img>", "</img>"), tokens)


class ShuffledTower(nn.Module):
    """The tower without its class token, each square of patches side by side.

    Args:
        tower: transformers' InternViT.
        factor: patches of a square in each direction.
    """

    def __init__(self, tower: Any, factor: int) -> None:
        super().__init__()
        self.embeddings = tower.embeddings
        self.encoder = tower.encoder
        self.norm = tower.layernorm
        self.factor = factor
        self.side = _side(tower.config.image_size) // _side(tower.config.patch_size) // factor
        self.num_patches = self.side**2
        self.feature_size = int(tower.config.hidden_size) * factor**2

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        x = self.norm(self.encoder(self.embeddings(pixels))[0])[:, 1:]
        side, factor = self.side, self.factor
        x = x.reshape(-1, side, factor, side, factor, x.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        features: Tensor = x.reshape(-1, self.num_patches, self.feature_size)
        return features


def _side(size: Any) -> int:
    """Return the side of a square that is stored as a number or as two."""
    return int(size if isinstance(size, int) else size[0])
