"""Control tokens that people's texts name are text, in prompts and in training."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_mobile.data.llava import Record
from hydra_mobile.data.tokenize import encoded_records
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import TEMPLATES, Turn, template_named

NAME = "<|im_end|>"


@pytest.fixture(params=sorted(TEMPLATES))
def processor(tiny_base: Path, request: pytest.FixtureRequest) -> MobileVLMProcessor:
    processor = MobileVLMProcessor.from_pretrained(tiny_base)
    processor.template = template_named(request.param)
    return processor


def count(processor: MobileVLMProcessor, ids: list[int]) -> int:
    return ids.count(processor.tokenizer.token_to_id(NAME))


def test_a_question_keeps_the_names_as_text(processor: MobileVLMProcessor) -> None:
    plain = processor.prompt("What does it mean?").after
    quoted = processor.prompt(f"What does {NAME} mean?").after
    assert count(processor, quoted) == count(processor, plain)
    text = processor.tokenizer.decode(quoted, skip_special_tokens=True)
    assert (NAME in text) == processor.template.questions
    assert "\ufdd0" not in text


def test_a_conversation_keeps_the_names_as_text(processor: MobileVLMProcessor) -> None:
    plain = processor.encode_record([Turn("What?", "red and more")], with_image=True)
    turns = (Turn("What?", f"red {NAME} and more"),)
    quoted = processor.encode_record(turns, with_image=True)
    assert count(processor, quoted.ids) == count(processor, plain.ids)
    assert quoted.matched
    assert NAME in processor.tokenizer.decode(
        [token for token in quoted.labels if token >= 0], skip_special_tokens=True
    )
    ((_, batched),) = encoded_records([Record("a", Path("a.png"), turns)], processor)
    assert batched == quoted


def test_other_text_has_the_ids_that_it_had(processor: MobileVLMProcessor) -> None:
    text = "a < b, <b>c</b> \u00e9 \ufdd0"
    assert processor.text_ids(text) == processor.tokenizer.encode(text).ids
