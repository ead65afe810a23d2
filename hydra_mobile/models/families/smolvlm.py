"""SmolVLM, SmolVLM2 and Idefics3: SigLIP, pixel shuffle and one linear, a Llama.

One picture, stretched to the square that the tower was trained on, or to a grid of such squares
with an overview behind them. The published checkpoints choose the grid by the picture's size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.tiles import Grid, Tiles
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel

_FAKE, _GLOBAL, _IMAGE = "<fake_token_around_image>", "<global-img>", "<image>"


class SmolVLM(Family):
    """transformers' SmolVLM and Idefics3 classes, which are laid out alike."""

    title = "SmolVLM, SmolVLM2, Idefics3"
    model_types = ("smolvlm", "idefics3")
    tested = "random weights"
    #: `model_type` -> transformers' image processor.
    _image_processors: ClassVar[dict[str, str]] = {
        "smolvlm": "SmolVLMImageProcessorPil",
        "idefics3": "Idefics3ImageProcessorPil",
    }

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        config, inner = model.config, model.model
        tower = FixedTower(inner.vision_model)
        return SplitModel(
            model,
            tower=tower,
            connector=inner.connector,
            text=inner.text_model,
            head=model.lm_head,
            image_size=int(config.vision_config.image_size),
            image_tokens=tower.num_patches // int(config.scale_factor) ** 2,
            picture_inputs=lambda pixels: {"pixel_values": pixels[None]},
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        around = Around(_IMAGE, before=_FAKE + _GLOBAL, after=_FAKE)
        return self._processor(folder, around, {"do_resize": False, "do_image_splitting": False})

    def tiled_processor(self, folder: Path, grid: Grid) -> MobileVLMProcessor:
        """Return the processor for a grid of tiles; the overview is made of the grid."""
        texts = [
            _FAKE + f"<row_{row}_col_{column}>"
            for row in range(1, grid.rows + 1)
            for column in range(1, grid.columns + 1)
        ]
        # A line for each row of tiles, and an empty one before the overview.
        for first in range(grid.columns, len(texts), grid.columns):
            texts[first] = "\n" + texts[first]
        texts.append("\n\n" + _FAKE + _GLOBAL)
        last = f"<row_{grid.rows}_col_{grid.columns}>"
        tokens = read_settings(folder / "tokenizer.json").get("added_tokens", ())
        if all(token["content"] != last for token in tokens):
            raise ArtifactError(
                f"{folder / 'tokenizer.json'} has no token `{last}`, with which tiles {grid} end.",
                "Choose a smaller grid.",
            )
        tiles = Tiles(grid.rows, grid.columns, "grid", tuple(texts))
        longest = max(grid.rows, grid.columns)
        splitting = {"do_resize": True, "do_image_splitting": True, "longest": longest}
        return self._processor(folder, Around(_IMAGE, after=_FAKE), splitting, tiles)

    def _processor(
        self, folder: Path, around: Around, mode: dict[str, Any], tiles: Tiles | None = None
    ) -> MobileVLMProcessor:
        config = read_settings(folder / "config.json")
        vision = self.config_of(config).vision_config
        side, shuffle = int(vision.image_size), int(config.get("scale_factor", 2))
        if "longest" in mode:
            mode["size"] = {"longest_edge": mode.pop("longest") * side}
        image = stretched(
            folder,
            side,
            self._image_processors[config["model_type"]],
            {**mode, "max_image_size": {"longest_edge": side}},
            tiles=tiles,
        )
        tokens = (side // int(vision.patch_size)) ** 2 // shuffle**2
        return derived_processor(folder, image, around, tokens)


class FixedTower(nn.Module):
    """The tower for pictures of its own size, whose positions are simply all of them.

    transformers' embeddings look positions up by `bucketize` of a mask, for pictures of any shape:
    ExecuTorch lowers that, and has no kernel for it when the program is loaded.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.patches = tower.embeddings.patch_embedding
        self.positions = tower.embeddings.position_embedding
        self.encoder = tower.encoder
        self.norm = tower.post_layernorm
        self.num_patches = int(self.positions.num_embeddings)
        self.feature_size = int(self.positions.embedding_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        x = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions.weight
        x = self.encoder(inputs_embeds=x, attention_mask=None).last_hidden_state
        features: Tensor = self.norm(x)
        return features
