from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from memory_rows import build_rows

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import Record, read_llava
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import Turn, template_named
from hydra_mobile.training.batches import collate
from hydra_mobile.training.data.packing import Row, Segment


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
    both = [*rows_of(records[3:6], processor), *short]
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


def packed_by_hand(records, processor, *, share_prefix, questions_per_row, max_length):
    """The rule of packing, written over lists of tokens."""
    rows, waiting = [], {}
    for record in records:
        encoded = processor.encode_record(record.turns, record.image is not None)
        prefix, ids = tuple(encoded.prefix), tuple(encoded.ids)
        segment = Segment(ids, tuple(encoded.labels))
        if record.image is None or not share_prefix:
            rows.append(Row(record.images, prefix, (segment,)))
            continue
        group = waiting.setdefault(record.image, [])
        length = len(prefix) + sum(len(s.ids) for s in group)
        if len(group) == questions_per_row or length + len(ids) > max_length:
            rows.append(Row(record.images, prefix, tuple(group)))
            group.clear()
        group.append(segment)
    prefix = tuple(processor.encode_record([Turn("", "")], True).prefix)
    return rows + [Row((image,), prefix, tuple(group)) for image, group in waiting.items()]


def scattered(count=200):
    """Records whose pictures come back far apart, some without a picture, of many lengths."""
    draw = random.Random(3)
    return [
        Record(
            f"r{number}",
            None if draw.random() < 0.2 else Path(f"pictures/{draw.randrange(25)}.png"),
            tuple(
                Turn("What is it? " * draw.randint(1, 4), "A red cat. " * draw.randint(1, 6))
                for _ in range(draw.randint(1, 3))
            ),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"share_prefix": True, "questions_per_row": 4, "max_length": 4096},
        {"share_prefix": True, "questions_per_row": 64, "max_length": 500},
        {"share_prefix": False, "questions_per_row": 4, "max_length": 4096},
    ],
)
def test_rows_are_packed_by_the_rule(processor, settings):
    records = scattered()
    expected = packed_by_hand(records, processor, **settings)
    rows = build_rows(records, processor, **settings)
    assert list(rows) == expected
    assert rows.lengths.tolist() == [row.length for row in expected]
    assert rows.conversations.tolist() == [len(row.segments) for row in expected]
    assert rows.with_image.tolist() == [bool(row.images) for row in expected]
    assert rows.images() == list(dict.fromkeys(r.image for r in records if r.image))
    assert rows[-2:] == expected[-2:]
    assert max(rows.lengths) <= settings["max_length"]
    if settings["max_length"] == 500:
        # Some rows were closed for their length, not for their number of conversations.
        assert 1 < max(rows.conversations) < 64


def test_rows_name_the_first_record_of_a_picture(processor):
    rows = build_rows(
        scattered(), processor, share_prefix=True, questions_per_row=4, max_length=4096
    )
    first = next(r for r in scattered() if r.image == rows.images()[3])
    assert rows.record_of(rows.images()[3]) == first.id
    assert rows.record_of(Path("pictures/none.png")) == ""


def test_records_that_are_too_long_are_cut_or_left_out(records, processor):
    whole = rows_of(records, processor, share_prefix=False)
    longest = int(whole.lengths.max())
    over = int((whole.lengths == longest).sum())
    assert 0 < over < len(records)
    kept = rows_of(
        records, processor, share_prefix=False, max_length=longest - 1, over_length="drop"
    )
    assert (kept.dropped, kept.truncated) == (over, 0)
    assert list(kept) == [row for row in whole if row.length < longest]
    # The last token of a conversation is the line break after the end of the answer.
    cut = rows_of(
        records, processor, share_prefix=False, max_length=longest - 1, over_length="truncate"
    )
    assert (cut.dropped, cut.truncated) == (0, over)
    for before, after in zip(whole, cut, strict=True):
        assert after.segments[0].ids == before.segments[0].ids[: longest - 1 - len(before.prefix)]
        assert len(after.segments[0].labels) == len(after.segments[0].ids)


def test_a_cut_that_leaves_nothing_to_learn_drops_the_record(records, processor):
    shortest = min(rows_of(records, processor, share_prefix=False).lengths)
    prefix = len(rows_of(records, processor)[0].prefix)
    assert prefix + 2 < shortest
    with pytest.raises(DataError, match=rf"conversation.*{len(records)}"):
        rows_of(records, processor, max_length=prefix + 2, over_length="truncate")


def test_a_record_that_the_template_refuses_is_named(records, processor):
    plain = MobileVLMProcessor(
        processor.tokenizer,
        template_named("plain"),
        processor.image,
        image_token_id=processor.image_token_id,
        num_image_tokens=processor.num_image_tokens,
    )
    two = replace(records[1], turns=records[1].turns * 2)
    with pytest.raises(DataError, match=rf"Record 1 .*'{two.id}'.* 2 "):
        rows_of([records[0], two], plain)


def test_conversations_that_their_template_masks_whole_are_left_out(records, processor):
    whole = MobileVLMProcessor(
        processor.tokenizer,
        replace(template_named("v1"), bos=False),
        processor.image,
        image_token_id=processor.image_token_id,
        num_image_tokens=processor.num_image_tokens,
    )
    separator = "</s>"
    wrong = replace(records[1], turns=(Turn("What?", f"a{separator}b"), Turn("And?", "c")))
    assert not whole.encode_record(wrong.turns, True).matched
    rows = rows_of([records[0], wrong, records[2]], whole)
    assert rows.unmatched == 1
    assert list(rows) == list(rows_of([records[0], records[2]], whole))


def test_a_record_that_is_too_long_is_named(records, processor):
    with pytest.raises(DataError, match=r"Record 0 .*max_length"):
        rows_of(records, processor, max_length=20)
