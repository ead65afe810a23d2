"""CLIP and SigLIP with each published projector, as whole models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clip_bases import PROJECTORS, clip_model, write_clip_base
from PIL import Image
from transformers import GenerationConfig

from hydra_mobile.models.loading import load_model

parts = pytest.mark.parametrize(
    ("tower", "projector"), [*(("clip", name) for name in PROJECTORS), ("siglip", "mlp")]
)


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@parts
def test_loss_trains_the_projector_and_no_tower(tiny_base, tower, projector):
    model, processor = clip_model(tiny_base, projector, tower)
    assert model.projector.num_tokens == processor.num_image_tokens
    inputs = processor("What is in the image?", picture(0))
    labels = inputs["input_ids"].clone()
    labels[labels == processor.image_token_id] = -100
    loss = model(**inputs, labels=labels).loss
    assert torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is not None for p in model.projector.parameters())
    assert all(p.grad is None for p in model.vision_tower.parameters())


@parts
def test_generation_sees_the_picture_and_equals_recomputation(tiny_base, tower, projector):
    model, processor = clip_model(tiny_base, projector, tower)
    config = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    logits = []
    for seed in (0, 1):
        inputs = processor("What is in the image?", picture(seed))
        ids = inputs["input_ids"]
        cached = model.generate(**inputs, generation_config=config)
        with torch.no_grad():
            logits.append(model(**inputs).logits[0, -1])
            for _ in range(8):
                step = model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits
                ids = torch.cat([ids, step[:, -1].argmax(-1, keepdim=True)], 1)
        assert torch.equal(cached, ids)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize("projector", list(PROJECTORS))
def test_a_folder_gives_back_the_same_model(tiny_base, tmp_path, projector):
    model, processor = clip_model(tiny_base, projector)
    again = load_model(write_clip_base(tiny_base, projector, tmp_path / "base"))
    written, read = model.state_dict(), again.state_dict()
    assert set(read) == set(written)
    assert all(torch.equal(read[name], written[name]) for name in written)
    assert any("vision_tower.model.encoder.layers.2." in name for name in read)
    inputs = processor("What is it?", picture(2))
    with torch.no_grad():
        # Kernels may round by a weight's address; what no file holds (positions) must be right.
        torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits)
