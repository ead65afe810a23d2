"""FastVLM: timm's FastViT, two linears, a Qwen2. One square picture, which is its own mode.

The converted checkpoints of transformers' class are read; Apple's own folders (`llava_qwen2`) are
remote code.
"""

from __future__ import annotations

import importlib
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hydra_mobile.core.errors import ArtifactError, MissingPackageError
from hydra_mobile.core.registry import require_packages
from hydra_mobile.models.families.base import Family
from hydra_mobile.models.families.pixels import cropped, read_settings
from hydra_mobile.models.families.prompts import Around, derived_processor
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import SplitModel, VisionLanguageModel


class FastVLM(Family):
    """transformers' FastVLM class."""

    title = "FastVLM"
    model_types = ("fast_vlm",)
    tested = "random weights; needs timm and torchvision"

    def model_class(self) -> Any:
        """Return transformers' automatic class, which builds the tower with timm.

        Raises:
            MissingPackageError: timm, or torchvision that it imports, cannot be used.
        """
        require_timm()
        return super().model_class()

    def config_of(self, stored: dict[str, Any]) -> Any:
        """Return the configuration that a config.json stores; timm reads the tower's.

        Raises:
            MissingPackageError: as `model_class`.
        """
        require_timm()
        return super().config_of(stored)

    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts."""
        inner, tokens = model.model, int(model.config.image_seq_length)
        tower = FeatureMap(inner.vision_tower, isqrt(tokens))
        if tower.num_patches != tokens:
            raise ArtifactError(
                f"config.json: image_seq_length is {tokens}, expected the square of a number.",
                "The rows of a picture are the places of a square map.",
            )
        return SplitModel(
            model,
            tower=tower,
            connector=inner.multi_modal_projector,
            text=inner.language_model,
            head=model.lm_head,
            image_size=tower.side * tower.stride,
            image_tokens=tokens,
            picture_inputs=lambda pixels: {"pixel_values": pixels},
        )

    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a checkpoint."""
        config = self.config_of(read_settings(folder / "config.json"))
        image = cropped(folder, "CLIPImageProcessorPil")
        return derived_processor(folder, image, Around("<image>"), int(config.image_seq_length))


class FeatureMap(nn.Module):
    """The tower's last map of features, place by place.

    Args:
        tower: transformers' wrapper of a model of timm.
        side: of the map, in places.
    """

    def __init__(self, tower: Any, side: int) -> None:
        super().__init__()
        self.timm_model = tower.timm_model
        self.side = side
        #: Pixels of a place in each direction.
        self.stride = int(self.timm_model.feature_info[-1]["reduction"])
        self.num_patches = side**2
        self.feature_size = int(tower.config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to features [B, P, C]."""
        features: Tensor = self.timm_model.forward_features(pixels)
        return features.flatten(2).transpose(1, 2)


def require_timm() -> None:
    """Check that the tower can be built.

    Raises:
        MissingPackageError: timm or torchvision is not installed, or torchvision was built for
            another torch.
    """
    require_packages(("timm", "torchvision"), "fastvlm")
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # its operators are not those of this torch
        raise MissingPackageError(
            f"FastVLM needs timm, which imports torchvision, and that cannot be imported: {error}.",
            "Install the build of torchvision that belongs to your torch: the same index, CPU or "
            "CUDA alike.",
        ) from error
