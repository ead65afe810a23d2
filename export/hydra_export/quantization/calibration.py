"""What a model is shown while it is quantized: embeddings of pictures and text, in one batch.

From training data where the user gives some; else pictures of random blobs followed by text that
the model samples itself, so that an export needs no data set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hydra_export.training_data import TrainingData
from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.data.source import Source
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.processor import MobileVLMProcessor

_RECORDS = 64
#: Longer conversations are cut: a picture, a question and a few answers are what matters. Tokens
#: beside the picture's.
_LONGEST = 240
#: How much more the inputs count from which an answer's token is predicted. Their errors reach the
#: logits as they are, all others only by way of attention.
_ANSWERS_COUNT = 4.0
_SEQUENCES = 24
_SAMPLED_TOKENS = 72


@dataclass(frozen=True)
class Calibration:
    """Sequences of one length, padded on the right, where causal attention cannot see the padding.

    Attributes:
        ids: int64 [B, T]; -1 where a picture or the padding is.
        embeddings: float32 [B, T, hidden] of everything but the padding, which is zero.
        used: bool [B, T]; False at the padding.
        answers: bool [B, T]; where the next token belongs to an answer (or was sampled).
        source: facts for the manifest: kind, sequences, tokens, and the data's name and sha256.
        digest: hash of the text and pictures that a model was shown; empty where nobody took it.
    """

    ids: Tensor
    embeddings: Tensor
    used: Tensor
    answers: Tensor
    source: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def position_weights(self) -> Tensor:
        """How much each position's error counts in rounding, float32 [B, T]; 0 at the padding."""
        return torch.where(self.answers, _ANSWERS_COUNT, self.used.float())

    def with_table(self, table: Tensor) -> Tensor:
        """Return the embeddings [B, T, hidden] as the token table [V, hidden] would give them."""
        rows = table[self.ids.clamp(min=0)]
        return torch.where((self.ids >= 0)[..., None], rows, self.embeddings)

    def first(self, count: int) -> Calibration:
        """Return up to `count` of the sequences, evenly spread, for a measurement in less time."""
        every = max(1, len(self.ids) // count)
        chosen = slice(0, every * count, every)
        return Calibration(
            self.ids[chosen],
            self.embeddings[chosen],
            self.used[chosen],
            self.answers[chosen],
            self.source,
            self.digest,
        )


@torch.no_grad()
def from_data(
    model: Any, processor: MobileVLMProcessor, data: TrainingData, records: int = _RECORDS
) -> Calibration:
    """Return the calibration that conversations give.

    Args:
        model: the whole vision-language model, fp32 on the CPU.
        processor: of the model.
        data: what it was trained on, or other data of its task.
        records: how many conversations with a picture to take, evenly spread over the data.

    Raises:
        DataError: the data or a picture cannot be read, or no record has both picture and answer.
    """
    pieces: list[tuple[list[int], Tensor, list[bool]]] = []
    shown = hashlib.sha256()
    for record in data.pictured(records):
        assert record.image is not None
        encoded = processor.encode_record(record.turns, True)
        if not encoded.matched:
            continue
        ids = [*encoded.prefix, *encoded.ids]
        labels = [-100] * len(encoded.prefix) + encoded.labels
        pixels = processor.preprocess(open_picture(record.image, record.id))
        shown.update(repr((ids, labels, pixels.shape)).encode())
        shown.update(pixels.tobytes())
        picture = model.encode_image(torch.from_numpy(pixels)[None])
        embeddings = model.merge_image(torch.tensor([ids]), picture)[0]
        ids = [-1 if token == processor.image_token_id else token for token in ids]
        # A position answers when the token after it is learned.
        learned = [label != -100 for label in labels[1:]] + [False]
        end = _LONGEST + ids.count(-1)
        pieces.append((ids[:end], embeddings[:end], learned[:end]))
    if not any(any(learned) for _, _, learned in pieces):
        raise DataError(
            f"{data.file} has no record with an image before its first question and an answer "
            "to calibrate on.",
            "Give the data that the model was trained on, or --calibrate self.",
        )
    sha256 = Source(data.file, data.columns).sha256()
    source = {"kind": "training data", "file": data.file.name, "sha256": sha256}
    return replace(padded(pieces, source), digest=shown.hexdigest())


def self_sampled_digest(image_size: int, seed: int = 0) -> str:
    """Return the `Calibration.digest` of what `self_sampled` makes, without making it."""
    return f"self-sampled {image_size} {seed} {_SEQUENCES} {_SAMPLED_TOKENS}"


@torch.no_grad()
def self_sampled(model: Any, image_size: int, seed: int = 0) -> Calibration:
    """Return the calibration of a start token, a picture of blobs and text the model samples.

    Args:
        model: the whole vision-language model, fp32 on the CPU.
        image_size: side of the picture that the tower reads.
        seed: of pictures and text.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((_SEQUENCES, 1), int(model.config.text_config.bos_token_id or 0))
    pictures = model.encode_image(blobs(image_size, generator))
    chunk = torch.cat([model.embed_tokens(ids), pictures], 1)
    chunks, cache = [chunk], None
    ids = torch.cat([ids, torch.full(pictures.shape[:2], -1)], 1)
    for _ in range(_SAMPLED_TOKENS):
        outputs = model(inputs_embeds=chunk, cache=cache, use_cache=True, logits_to_keep=1)
        cache = outputs.cache
        shares = outputs.logits[:, -1].softmax(-1)
        if not torch.isfinite(shares).all():
            raise ArtifactError(
                "The model gives logits that are not finite: it cannot write text to be "
                "calibrated on.",
                "Give --calibrate the data that it was trained on, or look at its weights.",
            )
        token = torch.multinomial(shares, 1, generator=generator)
        chunk = model.embed_tokens(token)
        chunks.append(chunk)
        ids = torch.cat([ids, token], 1)
    used = torch.ones_like(ids, dtype=torch.bool)
    answers = used.clone()
    answers[:, : pictures.shape[1]] = False
    answers[:, -1] = False
    source = {
        "kind": "images of random blobs and text sampled from the model",
        "sequences": _SEQUENCES,
        "tokens": used.numel(),
    }
    digest = self_sampled_digest(image_size, seed)
    return Calibration(ids, torch.cat(chunks, 1), used, answers, source, digest)


def padded(
    pieces: list[tuple[list[int], Tensor, list[bool]]], source: dict[str, Any]
) -> Calibration:
    """Return sequences (ids, embeddings [T, hidden], answering positions) in one batch."""
    longest = max(len(ids) for ids, _, _ in pieces)
    hidden = pieces[0][1].shape[-1]
    ids = torch.full((len(pieces), longest), -1)
    embeddings = torch.zeros(len(pieces), longest, hidden)
    used = torch.zeros(len(pieces), longest, dtype=torch.bool)
    answers = torch.zeros_like(used)
    for row, (tokens, vectors, learned) in enumerate(pieces):
        length = len(tokens)
        ids[row, :length] = torch.tensor(tokens)
        embeddings[row, :length] = vectors
        used[row, :length] = True
        answers[row, :length] = torch.tensor(learned)
    facts = {**source, "sequences": len(pieces), "tokens": int(used.sum())}
    return Calibration(ids, embeddings, used, answers, facts)


def blobs(size: int, generator: torch.Generator) -> Tensor:
    """Return pixels [B, 3, S, S] between -2 and 2: smooth colors, as pictures have."""
    coarse = torch.rand(_SEQUENCES, 3, 6, 6, generator=generator) * 6 - 3
    smooth = torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=False
    )
    return smooth.clamp(-2, 2)
