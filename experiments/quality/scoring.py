"""Right or wrong for every test question of a trained model, in packed batches.

A question is right when greedy decoding gives the reference answer and ends there: that is so
exactly when, with the reference fed in, every next token is the most likely one. One forward pass
answers all questions about a picture. Stricter than a benchmark's own rules, which forgive plurals
and punctuation. Always in fp32: bf16 turns many answers of one and the same model over, since close
logits round to equal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from hydra_mobile.data.llava import iter_llava
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.runtimes.torch import load_artifact
from hydra_mobile.training.batches import collate
from hydra_mobile.training.data.packing import Row, Rows
from hydra_mobile.training.data.token_cache import open_rows
from hydra_mobile.training.features import VisionFeatures

_ROWS = 8


@dataclass(frozen=True)
class Scored:
    """The questions of one split, in the order of its file.

    Attributes:
        keys: ids of the questions.
        pictures: what each is about; questions about one picture stand or fall together.
        right: whether greedy decoding gives the reference.
        loss: mean negative log-likelihood of the reference's tokens, nats.
    """

    keys: list[str]
    pictures: list[str]
    right: list[bool]
    loss: list[float]


@torch.inference_mode()
def score(artifact: Path, data: Path, splits: tuple[str, ...]) -> dict[str, Scored]:
    """Score a run, merged folder or base on `data`/tests/SPLIT.json."""
    model, processor = load_artifact(artifact)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    features = VisionFeatures(model, processor.image)
    scored = {}
    for split in splits:
        file = data / "tests" / f"{split}.json"
        rows = open_rows(
            file, data, processor, share_prefix=True, questions_per_row=8, max_length=2048
        )
        features.prepare(rows.images(), lambda done, total: None)
        right, loss = _answers(model, rows, features, device)
        records = list(iter_llava(file, data))
        places = _places(rows, records_of=[str(record.image) for record in records])
        scored[split] = Scored(
            [record.id for record in records],
            [str(record.image) for record in records],
            [right[place] for place in places],
            [round(loss[place], 4) for place in places],
        )
    return scored


def _answers(
    model: torch.nn.Module, rows: Rows, features: VisionFeatures, device: torch.device
) -> tuple[list[bool], list[float]]:
    """Return right and loss of every conversation, row by row."""
    right: list[bool] = []
    loss: list[float] = []
    for start in range(0, len(rows), _ROWS):
        batch_rows = [rows[i] for i in range(start, min(start + _ROWS, len(rows)))]
        batch = collate(batch_rows)
        mask = batch.attention_mask
        logits = model(
            input_ids=batch.input_ids.to(device),
            labels=batch.labels.to(device),
            position_ids=batch.position_ids.to(device),
            attention_mask=None if mask is None else mask.to(device),
            vision_features=features.batch([row.images for row in batch_rows]).to(device),
            use_cache=False,
        ).logits.float()
        # The model gives logits of the supervised positions alone, row by row: so are the targets.
        targets = torch.tensor(_targets(batch_rows), device=device)
        lost = functional.cross_entropy(logits, targets, reduction="none")
        same = logits.argmax(-1) == targets
        at = 0
        for row in batch_rows:
            for segment in row.segments:
                count = sum(label != IGNORE_INDEX for label in segment.labels)
                right.append(bool(same[at : at + count].all()))
                loss.append(float(lost[at : at + count].mean()))
                at += count
    return right, loss


def _targets(rows: list[Row]) -> list[int]:
    return [
        label
        for row in rows
        for segment in row.segments
        for label in segment.labels
        if label != IGNORE_INDEX
    ]


def _places(rows: Rows, records_of: list[str]) -> list[int]:
    """Return where each record's conversation stands among those of the rows, one after another.

    Rows keep the records of one picture in their order and may split them over several rows.
    """
    waiting: dict[str, list[int]] = {}
    at = 0
    for row in rows:
        waiting.setdefault(str(next(iter(row.images), None)), []).extend(
            range(at, at + len(row.segments))
        )
        at += len(row.segments)
    taken = dict.fromkeys(waiting, 0)
    places = []
    for picture in records_of:
        places.append(waiting[picture][taken[picture]])
        taken[picture] += 1
    return places
