from __future__ import annotations

import time
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest

from hydra_mobile.config import StageConfig
from hydra_mobile.training.batch_stream import BatchStream
from hydra_mobile.training.batches import cells, epoch_batches
from hydra_mobile.training.data.dataset import Conversations, Strings
from hydra_mobile.training.data.packing import Rows, pack


def rows_of_numbers(count: int, seed: int = 0, longest: int = 60) -> Rows:
    """Rows with tokens of no meaning: a third without a picture, some sharing one."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, longest, count)
    pictures = np.where(draw.random(count) < 0.3, -1, draw.integers(0, max(1, count // 2), count))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = int(starts[-1])
    conversations = Conversations(
        ids=np.zeros(tokens, np.int32),
        learned=np.ones(tokens, np.bool_),
        starts=starts,
        pictures=pictures,
        placed=np.zeros(0, np.int64),
        placed_starts=np.zeros(count + 1, np.int64),
        names=Strings.of(f"{i}.png" for i in range(max(1, count // 2))),
        owners=Strings.of([]),
        prefix_with=(1,) * 9,
        prefix_without=(1,) * 2,
        truncated=0,
        dropped=0,
        unmatched=0,
        malformed=0,
    )
    packing = pack(
        pictures, lengths, 9, share_prefix=True, questions_per_row=3, max_length=4 * longest
    )
    return Rows(conversations, packing, Path("pictures"))


def batches_by_hand(rows, conversations_per_batch, seed, epoch):
    """The rule without modalities, row by row."""
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(rows))
    mean = max(1.0, sum(len(row.segments) for row in rows) / len(rows))
    window = max(1, round(32 * conversations_per_batch / mean))
    batches = []
    for start in range(0, len(order), window):
        indices = sorted(order[start : start + window].tolist(), key=lambda i: -rows[i].length)
        batch, held = [], 0
        for index in indices:
            count = len(rows[index].segments)
            if batch and held + count > conversations_per_batch:
                batches.append(batch)
                batch, held = [], 0
            batch.append(index)
            held += count
        batches.append(batch)
    return [batches[i] for i in generator.permutation(len(batches))]


@pytest.mark.parametrize("per_batch", [1, 4, 7])
@pytest.mark.parametrize("epoch", [0, 3])
def test_without_modalities_the_order_is_the_rule(per_batch, epoch):
    rows = rows_of_numbers(700)
    assert epoch_batches(rows, per_batch, 5, epoch) == batches_by_hand(rows, per_batch, 5, epoch)


@pytest.mark.parametrize("by_modality", [False, True])
def test_epochs_hold_every_row_once_and_follow_the_seed(by_modality):
    rows = rows_of_numbers(500)

    def batches(seed, epoch):
        return epoch_batches(rows, 4, seed, epoch, by_modality)

    first = batches(1, 0)
    assert sorted(i for batch in first for i in batch) == list(range(len(rows)))
    assert all(sum(len(rows[i].segments) for i in b) <= 4 or len(b) == 1 for b in first)
    assert first == batches(1, 0)
    assert first != batches(1, 1)
    assert first != batches(2, 0)


def test_modalities_do_not_share_a_batch():
    rows = rows_of_numbers(500)
    mixed = [{bool(rows.with_image[i]) for i in b} for b in epoch_batches(rows, 4, 1, 0)]
    assert {True, False} in mixed
    apart = [{bool(rows.with_image[i]) for i in b} for b in epoch_batches(rows, 4, 1, 0, True)]
    assert all(len(kinds) == 1 for kinds in apart)
    # Batches of both kinds are shuffled together: neither comes first.
    changes = sum(a != b for a, b in pairwise(apart))
    assert changes > len(apart) / 5


def test_one_modality_alone_is_batched_too():
    rows = rows_of_numbers(80)
    rows.__dict__["pictures"] = np.full(len(rows), -1)
    assert sorted(chain(*epoch_batches(rows, 4, 1, 0, True))) == list(range(len(rows)))


def test_a_stream_finds_its_largest_batch_and_groups_modalities():
    rows = rows_of_numbers(300)
    config = StageConfig(batch_size=4, accumulation=2)
    stream = BatchStream(rows, config, seed=1, by_modality=True)
    seen = [batch for step in range(stream.steps) for batch in stream.step_rows(step)]
    assert all(len({bool(row.images) for row in batch}) == 1 for batch in seen)
    assert cells(stream.largest()) == max(cells(batch) for batch in seen)
    assert BatchStream(rows, config, seed=1).steps == pytest.approx(stream.steps, abs=2)


def test_a_full_size_epoch_takes_seconds():
    rows = rows_of_numbers(665_000)
    began = time.process_time()
    batches = epoch_batches(rows, 16, 0, 0, by_modality=True)
    assert time.process_time() - began < 10
    assert sum(len(batch) for batch in batches) == len(rows)
