"""Text and pictures to the model's inputs, and ids back to text.

Everything here is data: a `tokenizer.json`, a template, an image recipe. The same class therefore
serves a merged folder and an exported bundle, and needs no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from hydra_mobile.core.boundaries import reading, shown
from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.core.files import read_json, write_atomically, write_json
from hydra_mobile.models import label_mask as supervision
from hydra_mobile.models.control_tokens import ControlTokens
from hydra_mobile.models.hub_files import write_processor_files
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.templates import Placing, Template, Turn

#: Template and image preprocessing, in the folder of a model or of an adapter.
PROCESSOR_FILE = "processor_config.json"


@dataclass(frozen=True)
class Prompt:
    """Ids before and after the place of the image embeddings (`before` is all without one)."""

    before: list[int]
    after: list[int]


@dataclass(frozen=True)
class Encoded:
    """A conversation as training sees it: the sequence is `prefix` + `ids`.

    Attributes:
        prefix: what conversations about one picture share, one image token id per embedding;
            never learned. The BOS token alone, or nothing, for a text-only record whose template
            is tokenized as a whole.
        ids: the rest.
        labels: as long as `ids`; the id where it is learned, else -100.
        matched: False when the conversation itself holds the text that separates its turns. LLaVA
            then cannot tell questions from answers and learns nothing: every label is -100.
        pictures: where each picture in the questions begins and ends in `ids`; none where the only
            picture is in `prefix`.
    """

    prefix: list[int]
    ids: list[int]
    labels: list[int]
    matched: bool
    pictures: tuple[tuple[int, int], ...] = ()

    @property
    def length(self) -> int:
        """Tokens in all, those of images included."""
        return len(self.prefix) + len(self.ids)


def of_images(encoded: Encoded) -> str:
    """Return how much of a conversation its images are, for messages; "" for at most one."""
    count = len(encoded.pictures)
    if count < 2:
        return ""
    first, end = encoded.pictures[0]
    return f", {count} images of {end - first} each among them"


class MobileVLMProcessor:
    """Tokenizer, template and image preprocessing of one model.

    `num_image_tokens` are those of one square: with tiles, a picture has several. `placing` is not
    stored: only training from a checkpoint's own files reads several pictures a conversation.

    Training, every runtime and the phone take their ids from here, and so see the same ones.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Template,
        image: ImagePreprocessing,
        *,
        image_token_id: int,
        num_image_tokens: int,
        placing: Placing | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.image = image
        self.image_token_id = image_token_id
        self.num_image_tokens = num_image_tokens
        #: How training writes pictures in questions; None: it knows one, before the first.
        self.placing = placing

    def placed(self, placing: Placing | None) -> MobileVLMProcessor:
        """Return this processor with another way to write pictures in questions."""
        return MobileVLMProcessor(
            self.tokenizer,
            self.template,
            self.image,
            image_token_id=self.image_token_id,
            num_image_tokens=self.num_image_tokens,
            placing=placing,
        )

    @cached_property
    def control(self) -> ControlTokens:
        """The control tokens, which people's text may name and not use."""
        return ControlTokens(self.tokenizer, (self.image_token_id,))

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a piece of text, nothing added."""
        # The tokenizer would answer half a surrogate pair with a TypeError.
        with reading("a text", "characters of Unicode", "Type it again.", error_class=DataError):
            text.encode("utf-8")
        if self.control.is_marked(text):
            return self.control.encode(text)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @property
    def bos_ids(self) -> list[int]:
        """Ids that open a sequence: BOS if the template asks for it and the tokenizer has one."""
        if not self.template.bos:
            return []
        added: list[int] = self.tokenizer.encode("", add_special_tokens=True).ids
        if added:
            return added[:1]
        found = self.tokenizer.token_to_id("<s>")
        return [] if found is None else [found]

    @property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the first token of the template's answer suffix."""
        suffix = self.template.answer_suffix
        if not self.template.whole:
            return self.text_ids(suffix)[:1]
        # Behind an answer, where a tokenizer's mark of a text's beginning does not come between.
        return self.text_ids("a" + suffix)[len(self.text_ids("a")) :][:1]

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Return pixels float32 [3, H, W], or [K, 3, H, W] where a picture is read in tiles."""
        return self.image(image)

    @property
    def image_ids(self) -> list[int]:
        """Ids of a picture's place: one image token for each embedding, and tiles' texts."""
        square = [self.image_token_id] * self.num_image_tokens
        return [i for text in self.tile_ids for i in (*text, *square)]

    @property
    def tile_ids(self) -> list[list[int]]:
        """Ids of the text before each square of a picture; one empty list without tiles."""
        tiles = self.image.tiles
        return [self.text_ids(text) for text in tiles.texts] if tiles else [[]]

    def prompt(
        self, question: str, with_image: bool = True, history: Sequence[Turn] = ()
    ) -> Prompt:
        """Return the ids of one question, generation starting after them.

        Args:
            question: what is asked now.
            with_image: a picture's place is before the first question of the conversation.
            history: what was said before, in order; the ids are those of training on it.

        Raises:
            DataError: there is a history, and the template drops questions.
        """
        t = self.template
        if history and not t.questions:
            raise DataError(
                f"Template `{t.name}` drops questions and knows no conversation.",
                "Ask each question by itself.",
            )
        opening = [t.start, t.user_prefix]
        lead = [t.image_suffix] if with_image else opening
        ids: list[int] = []
        for number, turn in enumerate([*history, None]):
            text = self.control.as_text(question if turn is None else turn.question)
            # Lead and question are one string to the tokenizer.
            first = "" if with_image and number == 0 else t.question_lead
            asked = first + (text if t.questions else "")
            pieces = [*lead, asked, t.user_suffix, t.answer_prefix]
            if turn is not None:
                answer = t.answer_lead + self.control.as_text(turn.answer)
                pieces += [answer, t.answer_suffix]
            ids += self._ids_of(pieces)
            lead = [t.turn_suffix, t.user_prefix]
        if not with_image:
            return Prompt(self.bos_ids + ids, [])
        return Prompt(self.bos_ids + self._ids_of([*opening, t.image_prefix]), ids)

    def encode_record(self, turns: Sequence[Turn], with_image: bool) -> Encoded:
        """Return the ids and labels of a conversation.

        Args:
            turns: at least one; texts as the record has them, without image marks.
            with_image: the record has one picture, whose place is before the first question; False
                for one whose pictures are where its turns say.

        Raises:
            DataError: several turns in a template that drops questions; or pictures where this base
                knows none.
        """
        if any(turn.places for turn in turns):
            return self._placed(turns)
        if len(turns) > 1 and not self.template.questions:
            raise DataError(
                f"A conversation has {len(turns)} questions; template `{self.template.name}` "
                "drops questions and expects one image with one caption.",
                "Keep one question and one answer per record, or choose another template.",
            )
        turns = [
            Turn(self.control.as_text(turn.question), self.control.as_text(turn.answer))
            for turn in turns
        ]
        prefix = self._prefix(with_image)
        if not self.template.whole:
            ids, labels = supervision.in_pieces(turns, self.template, self.text_ids, with_image)
            return Encoded(prefix, ids, labels, matched=True)
        ids, labels, matched = supervision.as_whole(turns, self.template, self.text_ids, with_image)
        return Encoded(prefix, ids, labels, matched)

    def _placed(self, turns: Sequence[Turn]) -> Encoded:
        if self.placing is None or self.template.whole or not self.template.questions:
            count = sum(len(turn.places) for turn in turns)
            images = f"{count} images" if count > 1 else "its image in a later question"
            raise DataError(
                f"A conversation has {images}; template `{self.template.name}` of this base takes "
                "one, before the first question.",
                "Leave such records out with data.bad_records=drop, or train a base whose own "
                "template takes several (docs/families.md).",
            )
        marked = []
        for turn in turns:
            texts = [self.control.as_text(text) for text in turn.texts]
            places = tuple(itertools.accumulate(map(len, texts[:-1])))
            marked.append(Turn("".join(texts), self.control.as_text(turn.answer), places))
        found = supervision.with_places(
            marked, self.template, self.placing, self.text_ids, self.image_ids
        )
        return Encoded(self._prefix(False), found.ids, found.labels, True, found.pictures)

    def _ids_of(self, pieces: Sequence[str]) -> list[int]:
        """Return the ids of texts that follow each other."""
        if self.template.whole:
            return self.text_ids("".join(pieces))
        return [token for piece in pieces for token in self.text_ids(piece)]

    def _prefix(self, with_image: bool) -> list[int]:
        t = self.template
        if t.whole and not with_image:
            return self.bos_ids  # the rest is one string with the first question
        opening = [t.start, t.user_prefix]
        if with_image:
            opening.append(t.image_prefix)
        prefix = self.bos_ids + self._ids_of(opening)
        if with_image:
            prefix += self.image_ids
        if with_image and not t.whole:
            prefix += self.text_ids(t.image_suffix)
        return prefix

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
        image_ids = self.image_ids if images is not None else []
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
            ArtifactError: a key is missing, or the tokenizer cannot be read.
        """
        kinds = {"template": dict, "image": dict, "image_token_id": int, "num_image_tokens": int}
        for key, kind in kinds.items():
            if key not in value:
                raise ArtifactError(f"{where}: key `{key}` is missing.")
            found: Any = value[key]
            name = "an object" if kind is dict else "a whole number"
            negative = isinstance(found, int) and found < 0
            if type(found) is not kind or negative:
                raise ArtifactError(
                    f"{where}: key `{key}` is {shown(found)}, expected {name}.",
                    "The file was altered; make or fetch the folder again.",
                    where=f"{where}, {key}",
                    found=shown(found),
                    expected=name,
                )
        if not tokenizer_file.is_file():
            raise ArtifactError(f"{tokenizer_file} is missing: expected a tokenizer.")
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # tokenizers raises plain Exception for every parse error
            raise ArtifactError(f"{tokenizer_file} is no readable tokenizer: {error}.") from error
        return cls(
            tokenizer,
            Template.from_dict(value["template"], where),
            ImagePreprocessing.from_dict(value["image"], where),
            image_token_id=value["image_token_id"],
            num_image_tokens=value["num_image_tokens"],
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, recipe: str | Path | None = None
    ) -> MobileVLMProcessor:
        """Read `tokenizer.json` and `processor_config.json` of a model folder.

        Args:
            folder: the model's.
            recipe: the folder to take `processor_config.json` from, if it is another one: an
                adapter was perhaps trained with another template than its base has.
        """
        folder = Path(folder)
        file = Path(recipe or folder) / PROCESSOR_FILE
        stored = read_json(file, "the processor of a MobileVLM folder")
        return cls.from_dict(stored, folder / "tokenizer.json", str(file))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `tokenizer.json`, `processor_config.json` and what other tools read of them."""
        folder = Path(folder)
        with write_atomically(folder / "tokenizer.json") as temporary:
            self.tokenizer.save(str(temporary))
        write_json(folder / PROCESSOR_FILE, self.to_dict())
        write_processor_files(folder, self)
