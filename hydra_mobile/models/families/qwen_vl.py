"""Qwen2.5-VL and Qwen3-VL: a ViT with rotary positions, a merger of 2 x 2 patches, a Qwen.

Positions of text turn on three axes; Qwen3-VL adds features of earlier tower layers behind the
first text layers. Fixed mode: one picture, stretched to one square. The published checkpoints read
pictures in their own shape and resolution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.rows import RowLayout
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel

#: Side of a picture where nothing asks for less: 256 tokens at 14 pixels a patch, 196 at 16.
_SIDE = 448


class Qwen3VL(Family):
    """transformers' Qwen3-VL class."""

    title = "Qwen3-VL"
    model_types = ("qwen3_vl",)
    tested = "random weights"

    def side(self, vision: Any) -> int:
        """Return the side of the square: that of the stored positions, if it is smaller."""
        own: int = round(int(vision.num_position_embeddings) ** 0.5) * int(vision.patch_size)
        return min(_SIDE, own)

    def tower(self, visual: Any, side: int) -> QwenTower:
        """Return the tower for pictures of one size."""
        return QwenTower(visual, side)

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        config, inner = model.config, model.model
        side = self.side(config.vision_config)
        tower = self.tower(inner.visual, side)
        grid = side // tower.patch
        return SplitModel(
            model,
            tower=tower,
            connector=inner.visual.merger,
            text=inner.language_model,
            head=model.lm_head,
            image_size=side,
            image_tokens=tower.num_patches // tower.merge**2,
            picture_inputs=lambda pixels: {
                "pixel_values": torch.cat([tower.patches(square) for square in pixels]),
                "image_grid_thw": torch.tensor([[1, grid, grid]] * len(pixels)),
            },
            layout=RowLayout(int(config.text_config.hidden_size), deep=tower.deep, axes=True),
            token_kinds="mm_token_type_ids",
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        vision = self.config_of(read_settings(folder / "config.json")).vision_config
        side, patch, merge = self.side(vision), vision.patch_size, vision.spatial_merge_size

        def arranged(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            found = in_blocks(torch.from_numpy(pixels), patch, merge, vision.temporal_patch_size)
            array: NDArray[np.float32] = found.numpy()
            return array

        sizes = {"shortest_edge": side * side, "longest_edge": side * side}
        image = stretched(folder, side, "Qwen2VLImageProcessorPil", {"size": sizes}, arranged)
        tokens = (side // patch // merge) ** 2
        return derived_processor(folder, image, Around("<|image_pad|>"), tokens)


def in_blocks(pixels: Tensor, patch: int, merge: int, frames: int) -> Tensor:
    """Map pixels [3, S, S] to patches [P, 3 * frames * patch^2], blocks of merge^2 together.

    No tensor has more than five axes: XNNPACK takes a permute of seven, and then refuses to load
    it.
    """
    channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    x = pixels.reshape(channels, rows, patch, columns, patch).permute(1, 3, 0, 2, 4)
    x = x.reshape(rows // merge, merge, columns // merge, merge, channels * patch * patch)
    x = x.permute(0, 2, 1, 3, 4).reshape(rows * columns, channels, 1, patch * patch)
    x = x.expand(-1, -1, frames, -1)
    return x.reshape(rows * columns, channels * frames * patch * patch)


class QwenTower(nn.Module):
    """The tower for one square picture: grids, windows and positions are constants.

    A convolution over whole patches is a product, and attention is written out: phones have no
    kernel for three-dimensional convolutions, and lengths read from a tensor cannot be traced.
    """

    def __init__(self, tower: Any, side: int) -> None:
        super().__init__()
        config = tower.config
        self.patch, self.merge = int(config.patch_size), int(config.spatial_merge_size)
        self.frames = int(config.temporal_patch_size)
        self.side = side
        conv = tower.patch_embed.proj
        self.embed = nn.Linear(1, 1, bias=conv.bias is not None, device="meta")
        self.embed.weight = nn.Parameter(conv.weight.detach().flatten(1), requires_grad=False)
        if conv.bias is not None:
            self.embed.bias = conv.bias
        self.blocks, self.rotary = tower.blocks, tower.rotary_pos_emb
        self.num_patches = (side // self.patch) ** 2
        self.mergers = getattr(tower, "deepstack_merger_list", nn.ModuleList())
        self.deep_layers = list(getattr(tower, "deepstack_visual_indexes", ()))
        self.deep = len(self.deep_layers)
        width = int(config.hidden_size)
        self.feature_size = width + self.deep * int(config.out_hidden_size) // self.merge**2
        # Constants are wanted even where weights have no memory.
        with torch.device("cpu"):
            self._constants(tower, torch.tensor([[1, side // self.patch, side // self.patch]]))

    def _constants(self, tower: Any, grid: Tensor) -> None:
        from transformers.models.qwen3_vl import modeling_qwen3_vl as theirs

        places = theirs.get_vision_position_ids(grid, self.merge)
        indices, weights = theirs.get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=self.merge,
        )
        self.table = tower.pos_embed
        self._keep(places=places, indices=indices, weights=weights[:, :, None])

    def _keep(self, **constants: Tensor) -> None:
        device = self.embed.weight.device
        for name, value in constants.items():
            self.register_buffer(name, value.to(device), persistent=False)

    def patches(self, pixels: Tensor) -> Tensor:
        """Map pixels [3, S, S] to patches [P, values]."""
        return in_blocks(pixels, self.patch, self.merge, self.frames)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        return torch.stack([self.one(picture) for picture in pixels.unbind(0)])

    def one(self, pixels: Tensor) -> Tensor:
        """Map pixels [3, S, S] to features [P, C], those of the deep stack behind the last."""
        x = self.embed(self.patches(pixels))
        x = x + (self.table(self.indices) * self.weights).sum(1).to(x.dtype)
        tables = self.rotary(x, self.places)
        deep = []
        for index, block in enumerate(self.blocks):
            x = _block(block, x, tables, windows=1)
            if index in self.deep_layers:
                merged = self.mergers[self.deep_layers.index(index)](x)
                deep.append(merged)
        if not deep:
            return cast(Tensor, x)
        return torch.cat([x, torch.cat(deep, -1).reshape(self.num_patches, -1)], -1)


class WindowedTower(QwenTower):
    """Qwen2.5-VL's tower: most layers attend in windows of equal size, as a batch of them."""

    def _constants(self, tower: Any, grid: Tensor) -> None:
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

        places = theirs.get_vision_position_ids(grid, self.merge)
        blocks, ends = theirs.get_vision_window_index(
            grid,
            spatial_merge_size=self.merge,
            window_size=tower.window_size,
            patch_size=self.patch,
        )
        lengths = ends.diff()
        self.windows = len(lengths)
        self.full_layers = tuple(tower.fullatt_block_indexes)
        unit = self.merge**2
        order = (blocks[:, None] * unit + torch.arange(unit)).flatten()
        self._keep(places=places, order=order, back=torch.argsort(order))

    def one(self, pixels: Tensor) -> Tensor:
        """Map pixels [3, S, S] to features [P, C]."""
        x = self.embed(self.patches(pixels))
        order: Any = self.order
        x = x.index_select(0, order)
        tables = tuple(t.index_select(0, order) for t in self.rotary(x, self.places))
        for index, block in enumerate(self.blocks):
            windows = 1 if index in self.full_layers else self.windows
            x = _block(block, x, tables, windows)
        back: Any = self.back
        return cast(Tensor, x.index_select(0, back))


def _block(block: Any, x: Tensor, tables: Any, windows: int) -> Tensor:
    """Return what a block of the tower makes of x [P, C], attending in `windows` equal parts."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

    own, count = block.attn, x.shape[0]
    q, k, v = own.qkv(block.norm1(x)).reshape(count, 3, own.num_heads, -1).unbind(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *tables)
    shape = (windows, count // windows, own.num_heads, q.shape[-1])
    q, k, v = (part.reshape(shape).transpose(1, 2) for part in (q, k, v))
    # Not scaled_dot_product_attention: decomposed, its strides change, and lowering fails.
    weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
    x = x + own.proj((weights @ v).transpose(1, 2).reshape(count, -1))
    result: Tensor = x + block.mlp(block.norm2(x))
    return result


class Qwen25VL(Qwen3VL):
    """transformers' Qwen2.5-VL class."""

    title = "Qwen2.5-VL"
    model_types = ("qwen2_5_vl",)

    def side(self, vision: Any) -> int:
        """Return the side of the square: whole windows, which are then all of one size."""
        return 4 * int(vision.window_size)

    def tower(self, visual: Any, side: int) -> QwenTower:
        """Return the tower for pictures of one size."""
        return WindowedTower(visual, side)
