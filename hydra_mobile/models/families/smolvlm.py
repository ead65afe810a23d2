"""SmolVLM, SmolVLM2 and Idefics3: SigLIP, pixel shuffle and one linear, a Llama.

Fixed mode: one picture, stretched to the square that the tower was trained on. The published
checkpoints read tiles of a picture beside it; without them small text is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import read_settings, stretched
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
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
            picture_inputs=lambda pixels: {"pixel_values": pixels[:, None]},
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        config = read_settings(folder / "config.json")
        vision = self.config_of(config).vision_config
        side, shuffle = int(vision.image_size), int(config.get("scale_factor", 2))
        image = stretched(
            folder,
            side,
            self._image_processors[config["model_type"]],
            {
                "do_resize": False,
                "do_image_splitting": False,
                "max_image_size": {"longest_edge": side},
            },
        )
        tokens = (side // int(vision.patch_size)) ** 2 // shuffle**2
        around = Around(_IMAGE, before=_FAKE + _GLOBAL, after=_FAKE)
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
