from __future__ import annotations

from hydra_mobile.cli.chat import _printer
from hydra_mobile.models.processor import MobileVLMProcessor


def test_a_character_of_several_tokens_is_printed_when_it_is_whole(tiny_base, capsys):
    processor = MobileVLMProcessor.from_pretrained(tiny_base)
    text = "a \u00e9 \U0001f389\U0001f389 cat"
    ids = processor.text_ids(text)
    assert len(ids) > len(text)
    show = _printer(processor.decode)
    for token in ids:
        show(token)
    assert capsys.readouterr().out == text
