"""Text and pictures to the model's inputs, and ids back to text.

Everything here is data: a `tokenizer.json`, a template, an image recipe. The same class therefore
serves a merged folder and an exported bundle, and needs no model. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from hydra_mobile.data.templates import IGNORE_INDEX, Template, Turn
from hydra_mobile.errors import ArtefactError
from hydra_mobile.files import read_json, write_atomically, write_json
from hydra_mobile.models.preprocessing import ImagePreprocessing


@dataclass(frozen=True)
class Prompt:
    """Ids before and after the place of the image embeddings (`before` is all without one)."""

    before: list[int]
    after: list[int]


class MobileVLMProcessor:
    """Tokenizer, template and image preprocessing of one model.

    Pieces of the template are tokenised one by one and never across a border, so that training,
    every runtime and the phone see the same ids, and a prompt's prefix does not depend on its
    question.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Template,
        image: ImagePreprocessing,
        *,
        image_token_id: int,
        num_image_tokens: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.image = image
        self.image_token_id = image_token_id
        self.num_image_tokens = num_image_tokens

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a piece of text, nothing added."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the first token of the template's answer suffix."""
        return self.text_ids(self.template.answer_suffix)[:1]

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Return pixels float32 [3, H, W]."""
        return self.image(image)

    def prompt(self, question: str, with_image: bool = True) -> Prompt:
        """Return the ids of one question, generation starting after them."""
        t = self.template
        after = (
            self.text_ids(question) + self.text_ids(t.user_suffix) + self.text_ids(t.answer_prefix)
        )
        if not with_image:
            return Prompt(self.text_ids(t.start) + self.text_ids(t.user_prefix) + after, [])
        return Prompt(
            self.text_ids(t.start) + self.text_ids(t.user_prefix),
            self.text_ids(t.image_suffix) + after,
        )

    def encode_turns(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Return ids and labels of what follows the first question's prefix and image.

        Labels are -100 but for answers and the first token of the answer suffix, which teaches
        the model to stop.
        """
        t = self.template
        ids: list[int] = []
        labels: list[int] = []
        for index, turn in enumerate(turns):
            question = (
                [] if index == 0 else self.text_ids(t.turn_suffix) + self.text_ids(t.user_prefix)
            )
            question += self.text_ids(turn.question)
            question += self.text_ids(t.user_suffix) + self.text_ids(t.answer_prefix)
            answer = self.text_ids(turn.answer)
            suffix = self.text_ids(t.answer_suffix)
            ids += question + answer + suffix
            labels += [IGNORE_INDEX] * len(question) + answer + suffix[:1]
            labels += [IGNORE_INDEX] * (len(suffix) - 1)
        return ids, labels

    def prefix_ids(self, with_image: bool) -> list[int]:
        """Return the ids before the first question, image token ids included."""
        before = self.text_ids(self.template.start) + self.text_ids(self.template.user_prefix)
        if not with_image:
            return before
        image = [self.image_token_id] * self.num_image_tokens
        return before + image + self.text_ids(self.template.image_suffix)

    def encode_conversation(
        self, turns: Sequence[Turn], with_image: bool
    ) -> tuple[list[int], list[int]]:
        """Return ids and labels of a whole conversation, one image token id per embedding."""
        prefix = self.prefix_ids(with_image)
        ids, labels = self.encode_turns(turns)
        return prefix + ids, [IGNORE_INDEX] * len(prefix) + labels

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, special tokens left out, stripped."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    def __call__(
        self, text: str, images: Image.Image | None = None, return_tensors: str = "pt"
    ) -> dict[str, Any]:
        """Return `input_ids`, `attention_mask` and `pixel_values` for `model.generate`."""
        import torch  # kept out of the import: a bundle's runner needs no torch

        if return_tensors != "pt":
            raise ValueError(f"return_tensors is {return_tensors!r}, expected 'pt'")
        prompt = self.prompt(text, with_image=images is not None)
        image_ids = [self.image_token_id] * self.num_image_tokens if images is not None else []
        ids = torch.tensor([prompt.before + image_ids + prompt.after])
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if images is not None:
            inputs["pixel_values"] = torch.from_numpy(self.preprocess(images)).unsqueeze(0)
        return inputs

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the tokenizer, as folders and manifests store it."""
        return {
            "processor_class": type(self).__name__,
            "template": self.template.to_dict(),
            "image": self.image.to_dict(),
            "image_token_id": self.image_token_id,
            "num_image_tokens": self.num_image_tokens,
        }

    @classmethod
    def from_dict(
        cls, value: dict[str, Any], tokenizer_file: Path, where: str
    ) -> MobileVLMProcessor:
        """Build from a stored dictionary and a `tokenizer.json`; `where` is for messages.

        Raises:
            ArtefactError: a key is missing, or the tokenizer cannot be read.
        """
        for key in ("template", "image", "image_token_id", "num_image_tokens"):
            if key not in value:
                raise ArtefactError(f"{where}: key `{key}` is missing.")
        if not tokenizer_file.is_file():
            raise ArtefactError(f"{tokenizer_file} is missing: expected a tokenizer.")
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # tokenizers raises plain Exception for every parse error
            raise ArtefactError(f"{tokenizer_file} is no readable tokenizer: {error}.") from error
        return cls(
            tokenizer,
            Template.from_dict(value["template"], where),
            ImagePreprocessing.from_dict(value["image"], where),
            image_token_id=int(value["image_token_id"]),
            num_image_tokens=int(value["num_image_tokens"]),
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MobileVLMProcessor:
        """Read `tokenizer.json` and `processor_config.json` of a model folder."""
        folder = Path(folder)
        file = folder / "processor_config.json"
        stored = read_json(file, "the processor of a MobileVLM folder")
        return cls.from_dict(stored, folder / "tokenizer.json", str(file))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `processor_config.json`."""
        folder = Path(folder)
        with write_atomically(folder / "tokenizer.json") as temporary:
            self.tokenizer.save(str(temporary))
        write_json(folder / "processor_config.json", self.to_dict())
