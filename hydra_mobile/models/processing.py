"""transformers' view of the processor: what `AutoProcessor` returns for a model folder.

Wraps `hydra_mobile.models.processor`, which knows no torch and makes the IDs and pixels of
training and of every runtime; a conversation has the same IDs by either. Works without torchvision:
pixels come from PIL and numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerFast
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_utils import load_image
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import read_json
from hydra_mobile.models import processor as plain
from hydra_mobile.models.chat_template import IMAGE_MARK, chat_template, rendered_ids
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.hub_files import tokenizer_settings
from hydra_mobile.models.preprocessing import ImagePreprocessing

#: What `from_pretrained` passes on where a folder is a repository of the hub.
_HUB_ARGUMENTS = (
    *("cache_dir", "force_download", "token", "revision", "local_files_only", "subfolder"),
    "user_agent",
)


class MobileVLMImageProcessor(ImageProcessingMixin):  # type: ignore[misc]
    """Images to `pixel_values`, as `ImagePreprocessing` describes."""

    model_input_names = ["pixel_values"]  # noqa: RUF012 (transformers reads it)

    def __init__(self, preprocessing: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.preprocessing = dict(preprocessing or {})

    def __call__(
        self, images: Any, return_tensors: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Return `pixel_values` float32 [B, 3, H, W] of an image or a flat list of them."""
        recipe = ImagePreprocessing.from_dict(self.preprocessing, "the image processor")
        given = images if isinstance(images, list | tuple) else [images]
        pixels = np.stack([recipe(load_image(image)) for image in given])
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)


class MobileVLMProcessor(ProcessorMixin):  # type: ignore[misc]
    """Tokenizer, image processor and chat template of a model folder.

    Args:
        image_processor: makes the pixels.
        tokenizer: decodes; prompts are tokenized as the template says, see `plain`.
        chat_template: renders conversations; None: that of the template.
        plain: makes the IDs.
    """

    def __init__(
        self,
        image_processor: MobileVLMImageProcessor,
        tokenizer: PreTrainedTokenizerFast,
        chat_template: str | None = None,
        plain: plain.MobileVLMProcessor | None = None,
    ) -> None:
        if plain is None:
            raise TypeError("MobileVLMProcessor needs `plain`: use `of` or `from_pretrained`")
        self.plain = plain
        self.image_token = IMAGE_MARK
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def of(cls, processor: plain.MobileVLMProcessor) -> MobileVLMProcessor:
        """Return transformers' view of a processor."""
        # A copy: special tokens that are set here must not change how prompts are tokenized.
        copy = Tokenizer.from_str(processor.tokenizer.to_str())
        settings = tokenizer_settings(processor)
        del settings["tokenizer_class"], settings["processor_class"]
        template = chat_template(processor.template)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=copy, chat_template=template, **settings
        )
        images = MobileVLMImageProcessor(processor.image.to_dict())
        return cls(images, tokenizer, chat_template=template, plain=processor)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> MobileVLMProcessor:
        """Read a model folder or a repository of the hub; folders of earlier versions as well.

        Raises:
            ArtifactError: a file is incomplete.
            OSError: there are none.
        """
        hub = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
        name = str(pretrained_model_name_or_path)
        recipe = cached_file(name, plain.PROCESSOR_FILE, **hub)
        tokenizer = cached_file(name, "tokenizer.json", **hub)
        stored = read_json(Path(recipe), "the processor of a MobileVLM folder")
        return cls.of(plain.MobileVLMProcessor.from_dict(stored, Path(tokenizer), recipe))

    def save_pretrained(
        self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write tokenizer, template and image preprocessing; return the names of the files."""
        if push_to_hub:
            raise ValueError("push_to_hub is not supported here: upload the folder instead")
        self.plain.save_pretrained(save_directory)
        return [str(file) for file in sorted(Path(save_directory).glob("*")) if file.is_file()]

    def to_dict(self) -> dict[str, Any]:
        """Return what processor_config.json holds."""
        return self.plain.to_dict()

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str | None = None,
        padding: bool | str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Return `input_ids`, `attention_mask` and, with images, `pixel_values` [B, 3, H, W].

        Args:
            images: one for each text that has an image: a single one, a list, or a list for each
                text. Files, URLs, PIL images or arrays.
            text: rendered conversations, as `apply_chat_template` returns them. Any other text is
                taken for a question and put into the template, behind the image.
            return_tensors: "pt", "np", or None for lists.
            padding: pad shorter texts of a batch on the left.
            kwargs: what transformers passes to every processor.

        Raises:
            DataError: an image without a text for it, or the other way round.
        """
        if text is None:
            raise DataError("The processor needs a text: a question or a rendered conversation.")
        texts = [text] if isinstance(text, str) else list(text)
        pictures = _by_text(images, texts)
        rows = [self._ids(t, bool(own)) for t, own in zip(texts, pictures, strict=True)]
        longest = max(map(len, rows))
        if any(len(row) != longest for row in rows) and not padding and return_tensors:
            raise DataError("The texts differ in length.", "Pass padding=True.")
        fill = self.tokenizer.pad_token_id or 0
        gaps = [longest - len(row) if padding else 0 for row in rows]
        data: dict[str, Any] = {
            "input_ids": [[fill] * gap + row for gap, row in zip(gaps, rows, strict=True)],
            "attention_mask": [
                [0] * gap + [1] * len(row) for gap, row in zip(gaps, rows, strict=True)
            ],
        }
        if any(pictures):
            size = self.plain.image.size
            blank = Image.new("RGB", (size, size))
            flat = [own[0] if own else blank for own in pictures]
            data["pixel_values"] = self.image_processor(flat)["pixel_values"]
        return BatchFeature(data, tensor_type=return_tensors)

    def _ids(self, text: str, with_image: bool) -> list[int]:
        """Return the IDs of one text.

        Raises:
            DataError: the text has an image mark and there is no image, or several marks.
        """
        own = self.plain
        image_ids = [own.image_token_id] * own.num_image_tokens
        marks = text.count(IMAGE_MARK)
        if marks > 1 or (marks and not with_image):
            raise DataError(
                f"A text has {marks} {IMAGE_MARK} marks and {int(with_image)} images; expected "
                "one image and at most one mark."
            )
        if marks or not with_image:
            bos = own.bos_ids
            bos_text = (own.tokenizer.id_to_token(bos[0]) if bos else None) or ""
            ids = rendered_ids(
                text, own.template, own.text_ids, bos=(bos_text, bos), image_ids=image_ids
            )
            if ids is not None:
                return ids
            if marks:
                before, _, after = text.partition(IMAGE_MARK)
                return [*bos, *own.text_ids(before), *image_ids, *own.text_ids(after)]
        prompt = own.prompt(text, with_image=with_image)
        return prompt.before + (image_ids if with_image else []) + prompt.after

    @property
    def model_input_names(self) -> list[str]:
        """Names that the model's forward takes."""
        return ["input_ids", "attention_mask", "pixel_values"]


def _by_text(images: Any, texts: Sequence[str]) -> list[list[Any]]:
    """Return the images of each text, none or one.

    Raises:
        DataError: they cannot be told apart.
    """
    if images is None:
        return [[] for _ in texts]
    given = list(images) if isinstance(images, list | tuple) else [images]
    if given and all(isinstance(item, list | tuple) for item in given):
        nested = [list(item) for item in given]
    elif len(given) == len(texts):
        nested = [[item] for item in given]
    else:
        marked = iter(given)
        nested = [[next(marked, None)] if IMAGE_MARK in text else [] for text in texts]
        if [None] in nested or next(marked, None) is not None:
            nested = []
    if len(nested) != len(texts) or any(len(own) > 1 for own in nested):
        raise DataError(
            f"{len(given)} images do not fit {len(texts)} texts: expected at most one for each."
        )
    return nested


AutoProcessor.register(MobileVLMConfig, MobileVLMProcessor, exist_ok=True)
