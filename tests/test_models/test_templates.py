from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.templates import TEMPLATES, Template, template_named


def prompt_text(template: Template, question: str) -> str:
    """Return what a user's question becomes, the picture written as its mark."""
    t = template
    asked = question if t.questions else ""
    before = t.start + t.user_prefix + "<image>" + t.image_suffix
    return before + asked + t.user_suffix + t.answer_prefix


def training_text(template: Template, *turns: tuple[str, str]) -> str:
    t = template
    text = prompt_text(t, turns[0][0]) + t.answer_lead + turns[0][1] + t.answer_suffix
    for question, answer in turns[1:]:
        text += t.turn_suffix + t.user_prefix + question + t.user_suffix
        text += t.answer_prefix + t.answer_lead + answer + t.answer_suffix
    return text


def test_v1_is_the_published_text_byte_for_byte():
    v1 = template_named("v1")
    assert prompt_text(v1, "What is it?") == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image>\n"
        "What is it? ASSISTANT:"
    )
    assert training_text(v1, ("What is it?", "a cat"), ("Is it red?", "no")) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image>\n"
        "What is it? ASSISTANT: a cat</s>USER: Is it red? ASSISTANT: no</s>"
    )
    assert v1.bos
    assert v1.whole


def test_plain_is_a_picture_and_its_caption():
    plain = template_named("plain")
    assert prompt_text(plain, "Describe it.") == "<image>"
    assert training_text(plain, ("Describe it.", "a cat")) == "<image>a cat\n"
    assert plain.bos
    assert plain.whole


def test_chatml_is_the_text_that_smollm_was_trained_on():
    assert training_text(template_named("chatml"), ("What is it?", "a cat"), ("Red?", "no")) == (
        "<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\na cat<|im_end|>\n"
        "<|im_start|>user\nRed?<|im_end|>\n<|im_start|>assistant\nno<|im_end|>"
    )


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_templates_are_data(name):
    template = TEMPLATES[name]
    assert Template.from_dict(json.loads(json.dumps(template.to_dict())), "x") == template


def test_a_template_stored_before_whole_strings_keeps_its_pieces():
    # What folders and bundles of the first version hold for `v1`.
    stored = template_named("v1").to_dict()
    for key in ("whole", "bos", "answer_lead", "questions"):
        del stored[key]
    template = Template.from_dict(stored, "x")
    assert (template.whole, template.bos, template.answer_lead) == (False, False, "")
    assert template.questions
    assert template.user_prefix == "USER: "


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("user_prefix", 3, "3"),
        ("whole", "yes", "'yes'"),
        ("answer_lead", None, "None"),
    ],
)
def test_a_wrong_piece_is_named(key, value, expected):
    stored = {**template_named("v1").to_dict(), key: value}
    with pytest.raises(ArtifactError, match=rf"manifest.json.*`{key}`.*{expected}"):
        Template.from_dict(stored, "manifest.json")


@pytest.mark.parametrize("key", ["start", "turn_suffix"])
def test_a_missing_piece_is_named(key):
    stored = template_named("chatml").to_dict()
    del stored[key]
    with pytest.raises(ArtifactError, match=rf"manifest.json.*`{key}`"):
        Template.from_dict(stored, "manifest.json")


def test_unknown_template_lists_the_valid_ones():
    with pytest.raises(HydraError, match="`chatml`"):
        template_named("chatmll")


def test_the_documentation_shows_every_template_as_it_is():
    text = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `(\w+)` \| `(.+)` \|$", text, re.MULTILINE))
    assert shown.keys() == TEMPLATES.keys()
    turns = [("What is it?", "a cat"), ("Is it red?", "no")]
    for name, template in TEMPLATES.items():
        written = training_text(template, *(turns if template.questions else turns[:1]))
        assert shown[name].replace("\\|", "|").replace("\u23ce", "\n") == written
