from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import TEMPLATES, Turn, template_named


@pytest.fixture
def processor(tiny_base: Path) -> MobileVLMProcessor:
    return MobileVLMProcessor.from_pretrained(tiny_base)


def test_chatml_prompt_reads_as_smollm_was_trained(processor):
    prompt = processor.prompt("What is it?")
    text = processor.tokenizer.decode(prompt.before, skip_special_tokens=False)
    text += "<image>" + processor.tokenizer.decode(prompt.after, skip_special_tokens=False)
    assert text == ("<|im_start|>user\n<image>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n")


def test_v1_template_is_that_of_llava(processor):
    processor.template = template_named("v1")
    prompt = processor.prompt("Is it red?")
    text = (
        processor.tokenizer.decode(prompt.before)
        + "<image>"
        + processor.tokenizer.decode(prompt.after)
    )
    assert text == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <image>\nIs it red? ASSISTANT:"
    )


def test_only_answers_and_their_stop_token_are_learned(processor):
    encoded = processor.encode_record([Turn("One?", "yes"), Turn("Two?", "no")], True)
    learned = [label for label in encoded.labels if label != -100]
    stop = processor.stop_ids
    assert learned == processor.text_ids("yes") + stop + processor.text_ids("no") + stop
    pairs = zip(encoded.ids, encoded.labels, strict=True)
    assert all(label in (-100, token) for token, label in pairs)


def test_training_and_prompt_ids_agree(processor):
    prompt = processor.prompt("What is it?")
    encoded = processor.encode_record([Turn("What is it?", "red")], True)
    image = [processor.image_token_id] * processor.num_image_tokens
    start = next(i for i, label in enumerate(encoded.labels) if label != -100)
    assert encoded.prefix + encoded.ids[:start] == prompt.before + image + prompt.after


def test_pieces_are_tokenized_one_by_one(processor):
    # Written out, so that no later way of tokenizing changes what a trained model has seen.
    def ids(*pieces):
        return [token for piece in pieces for token in processor.text_ids(piece)]

    user, assistant, end = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"
    encoded = processor.encode_record([Turn("One?", "yes"), Turn(" Two? ", "no ")], True)
    image = [processor.image_token_id] * processor.num_image_tokens
    assert encoded.prefix == ids(user) + image + ids("\n")
    assert encoded.ids == ids(
        *("One?", end, assistant, "yes", "<|im_end|>"),
        *("\n", user, " Two? ", end, assistant, "no ", "<|im_end|>"),
    )
    assert processor.encode_record([Turn("One?", "yes")], False).prefix == ids(user)
    assert processor.prompt("One?", with_image=False).before == ids(user, "One?", end, assistant)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_round_trip(processor, tmp_path, name):
    processor.template = template_named(name)
    processor.save_pretrained(tmp_path)
    again = MobileVLMProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert again.prompt("What?") == processor.prompt("What?")


@pytest.mark.parametrize("key", ["template", "image", "image_token_id"])
def test_incomplete_processor_file_names_the_key(processor, tmp_path, key):
    processor.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "processor_config.json").read_text())
    del stored[key]
    (tmp_path / "processor_config.json").write_text(json.dumps(stored))
    with pytest.raises(ArtifactError, match=key):
        MobileVLMProcessor.from_pretrained(tmp_path)


def test_no_conversation_in_pieces_is_ever_masked_whole(processor):
    # Elsewhere lengths are guessed by tokenizing twice, and a guess that fails masks the sample.
    # Here ids and labels are made together, so the number of such samples is zero by construction.
    for question, answer in (("a", "b"), ("  spaces  ", " x "), ("USER: </s>", "ASSISTANT: y")):
        encoded = processor.encode_record([Turn(question, answer)], True)
        assert encoded.matched
        assert any(label != -100 for label in encoded.labels)
        pairs = zip(encoded.ids, encoded.labels, strict=True)
        assert all(label in (-100, token) for token, label in pairs)
