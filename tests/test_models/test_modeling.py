from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, GenerationConfig

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import Turn


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> MobileVLMForConditionalGeneration:
    return load_model(tiny_base)


@pytest.fixture(scope="module")
def processor(tiny_base: Path) -> MobileVLMProcessor:
    return MobileVLMProcessor.from_pretrained(tiny_base)


def picture(color: str = "red") -> Image.Image:
    image = Image.new("RGB", (40, 30), "white")
    image.paste(color, (5, 5, 25, 25))
    return image


def test_cached_generation_equals_full_recomputation(model, processor):
    inputs = processor("What is in the image?", picture())
    length = inputs["input_ids"].shape[1]
    # Random weights sooner or later "stop": go on, so that twelve ids are compared.
    config = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    cached = model.generate(**inputs, generation_config=config)
    ids = inputs["input_ids"]
    with torch.no_grad():
        for _ in range(12):
            logits = model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(cached, ids)
    assert len(set(ids[0, length:].tolist())) > 1, "a constant output proves nothing"


def test_picture_changes_the_answer(model, processor):
    def logits(color):
        inputs = processor("What is it?", picture(color))
        with torch.no_grad():
            return model(**inputs).logits[0, -1]

    assert (logits("red") - logits("blue")).abs().max() > 1e-3


def test_image_tokens_take_the_embeddings_in_order(model, processor):
    ids = processor.encode_record([Turn("Is it?", "yes")], True).prefix
    prefix = torch.tensor([ids])
    embeddings = torch.randn(1, model.config.num_image_tokens, 64)
    merged = model.merge_image(prefix, embeddings)
    at = ids.index(processor.image_token_id)
    count = processor.num_image_tokens
    assert torch.equal(merged[:, at : at + count], embeddings)
    assert torch.equal(merged[:, :at], model.embed_tokens(prefix[:, :at]))


def test_loss_is_that_of_the_supervised_tokens_only(model, processor):
    encoded = processor.encode_record([Turn("Is there a cat?", "yes")], True)
    ids = encoded.prefix + encoded.ids
    labels = [-100] * len(encoded.prefix) + encoded.labels
    ids_t, labels_t = torch.tensor([ids]), torch.tensor([labels])
    pixels = torch.from_numpy(processor.preprocess(picture())).unsqueeze(0)
    with torch.no_grad():
        output = model(input_ids=ids_t, pixel_values=pixels, labels=labels_t)
        logits = model(input_ids=ids_t, pixel_values=pixels).logits
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], labels_t[0, 1:], ignore_index=-100)
    assert output.loss == pytest.approx(expected.item(), abs=1e-5)
    assert output.logits.shape[0] == sum(label != -100 for label in labels)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_bool_mask_hides_in_any_attention(tiny_base, attention):
    model = load_model(tiny_base)
    model.language_model.model.set_attn_implementation(attention)
    seen = torch.ones(6, 6, dtype=torch.bool).tril()
    # The last two are another conversation, which shares the first row with the others.
    seen[4:, 1:4] = False
    given = {"attention_mask": seen[None, None], "position_ids": torch.tensor([[0, 1, 2, 3, 1, 2]])}
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        both = model(input_ids=ids, use_cache=False, **given).logits
        alone = model(input_ids=ids[:, [0, 4, 5]], use_cache=False).logits
    torch.testing.assert_close(both[:, [0, 4, 5]], alone, rtol=1e-4, atol=1e-5)


def test_save_and_load_give_the_same_logits(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    inputs = MobileVLMProcessor.from_pretrained(tmp_path)("What is it?", picture())
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_truncated_weights_are_refused_by_name(tiny_base, tmp_path):
    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        load_model(tmp_path)


def test_weights_of_another_shape_are_refused(tiny_base, tmp_path):
    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    )
    with pytest.raises(ArtifactError, match="config"):
        load_model(tmp_path)
