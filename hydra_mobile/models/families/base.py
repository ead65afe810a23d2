"""What a family of vision-language models is: everything that depends on the class of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.model_folder import read_config
from hydra_mobile.models.tiles import TILES_FILE, Grid

if TYPE_CHECKING:
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.vision_language import VisionLanguageModel


class Family(ABC):
    """One kind of vision-language model.

    Importing the module of a family loads no model class; its methods do.
    """

    #: What people call it.
    title: ClassVar[str]
    #: `model_type` of the configurations that are of it.
    model_types: ClassVar[tuple[str, ...]]
    #: Whether a folder says template and pictures in transformers' files, and not in ours: then
    #: both are derived from these, and cannot be chosen.
    derives_prompts: ClassVar[bool] = True
    #: What has been shown to work, for people.
    tested: ClassVar[str]

    def model_class(self) -> Any:
        """Return what has `from_pretrained` for folders of this family."""
        from transformers import AutoModelForImageTextToText

        return AutoModelForImageTextToText

    def config_of(self, stored: dict[str, Any]) -> Any:
        """Return the configuration that a config.json stores."""
        from transformers import CONFIG_MAPPING

        return CONFIG_MAPPING[stored["model_type"]].from_dict(stored)

    def empty_model(self, config: Any) -> VisionLanguageModel:
        """Return the model of a configuration with random weights, or none on the meta device."""
        return self.split(self.model_class().from_config(config))

    def rename(self, folder: Path) -> Callable[[str], str | None]:
        """Return what gives a tensor's name in `folder` for one that it has elsewhere, or None."""
        from hydra_mobile.models.families.tensor_names import stored_name

        stored = read_config(folder / "config.json", "the configuration of a model")
        return stored_name(folder, lambda: self.empty_model(self.config_of(stored)).whole)

    @abstractmethod
    def split(self, model: Any) -> VisionLanguageModel:
        """Return the parts of a model of this family; weights are shared."""

    @abstractmethod
    def processor(self, folder: Path) -> MobileVLMProcessor:
        """Return tokenizer, template and image preprocessing of a model folder.

        Raises:
            ArtifactError: a file is missing, or says what our form cannot express.
        """

    def tiled_processor(self, folder: Path, grid: Grid) -> MobileVLMProcessor:
        """Return the processor that reads a picture as a grid of tiles and an overview.

        Raises:
            HydraError: this family reads pictures as one square only.
            ArtifactError: as `processor`.
        """
        raise HydraError(
            f"{folder}: tiles {grid} are asked for, and {self.title} is read as one square here.",
            f"Leave out data.tiles, and remove {TILES_FILE} from the folder.",
        )
