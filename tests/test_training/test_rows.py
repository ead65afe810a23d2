from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hydra_mobile.data.llava import read_llava
from hydra_mobile.errors import DataError
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.batches import collate, epoch_batches
from hydra_mobile.training.rows import build_rows


@pytest.fixture(scope="module")
def processor(tiny_base: Path) -> MobileVLMProcessor:
    return MobileVLMProcessor.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def records(shapes_data: Path):
    return read_llava(shapes_data / "questions.json")


def rows_of(records, processor, **changes):
    settings = {"share_prefix": True, "questions_per_row": 8, "max_length": 512} | changes
    return build_rows(records, processor, **settings)


def test_conversations_about_one_picture_share_a_row(records, processor):
    rows = rows_of(records, processor)
    assert len(rows) == 12
    assert sum(len(row.segments) for row in rows) == len(records)
    assert len(rows_of(records, processor, questions_per_row=2)) == 24
    assert len(rows_of(records, processor, share_prefix=False)) == len(records)


def test_a_packed_row_has_the_logits_of_its_conversations_alone(records, processor, tiny_base):
    model = load_model(tiny_base)
    features = torch.randn(1, 16, 32)

    def logits(rows):
        batch = collate(rows)
        with torch.no_grad():
            return model(
                input_ids=batch.input_ids,
                labels=batch.labels,
                position_ids=batch.position_ids,
                attention_mask=batch.attention_mask,
                vision_features=features.expand(len(rows), -1, -1),
                use_cache=False,
            ).logits

    of_picture = records[:3]
    packed = logits(rows_of(of_picture, processor))
    alone = torch.cat(
        [logits(rows_of([record], processor, share_prefix=False)) for record in of_picture]
    )
    torch.testing.assert_close(packed, alone, atol=1e-4, rtol=1e-4)


def test_padding_does_not_change_a_row(records, processor, tiny_base):
    model = load_model(tiny_base)
    short = rows_of(records[:1], processor)
    both = rows_of(records[3:6], processor) + short
    features = torch.randn(1, 16, 32)

    def loss_of_last(rows):
        batch = collate(rows)
        batch.labels[:-1] = -100
        with torch.no_grad():
            return model(
                input_ids=batch.input_ids,
                labels=batch.labels,
                position_ids=batch.position_ids,
                attention_mask=batch.attention_mask,
                vision_features=features.expand(len(rows), -1, -1),
            ).loss

    assert loss_of_last(both).item() == pytest.approx(loss_of_last(short).item(), abs=1e-5)


def test_epochs_hold_every_row_once_and_follow_the_seed(records, processor):
    rows = rows_of(records, processor, questions_per_row=2)
    batches = epoch_batches(rows, 4, seed=1, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    assert all(sum(len(rows[i].segments) for i in batch) <= 4 for batch in batches)
    assert batches == epoch_batches(rows, 4, seed=1, epoch=0)
    assert batches != epoch_batches(rows, 4, seed=1, epoch=1)
    assert batches != epoch_batches(rows, 4, seed=2, epoch=0)


def test_a_record_that_is_too_long_is_named(records, processor):
    with pytest.raises(DataError, match="'0-colour' has"):
        rows_of(records, processor, max_length=20)
