"""The towers against transformers' own models, run in full."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.published import CLIP_L_336
from hydra_mobile.models.vision.clip import ClipTower
from hydra_mobile.models.vision.siglip import SiglipTower

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 6,
}
KINDS = {
    "clip": (ClipTower, CLIPVisionConfig, CLIPVisionModel, 1),
    "siglip": (SiglipTower, SiglipVisionConfig, SiglipVisionModel, 0),
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def pixels(count=2):
    return torch.randn(count, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def varied(model):
    """Random weights whose layers differ enough for a wrong one to show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@kinds
@pytest.mark.parametrize("select_layer", [-2, -1, 1, 0])
def test_tower_is_the_chosen_hidden_state_of_the_whole_model(kind, select_layer):
    tower_class, config, model, extra = KINDS[kind]
    whole = varied(model(config(**SIZES, attn_implementation="eager")))
    tower = tower_class(select_layer=select_layer, **SIZES).eval()
    tower.model.load_state_dict(whole.state_dict())
    with torch.no_grad():
        expected = whole(pixels(), output_hidden_states=True).hidden_states
        found = tower(pixels())
    assert len(expected) == SIZES["num_hidden_layers"] + 1
    torch.testing.assert_close(found, expected[select_layer][:, extra:], atol=1e-5, rtol=1e-5)
    assert found.shape == (2, tower.num_patches, tower.feature_size) == (2, 16, 32)
    other = expected[select_layer - 1][:, extra:]
    assert (found - other).abs().max() > 0.1, "neighboring layers must differ here"


@kinds
def test_layers_above_are_kept_but_neither_computed_nor_trained(kind):
    tower = varied(KINDS[kind][0](**SIZES))
    last = tower.model.encoder.layers[-1]
    last.register_forward_hook(lambda *_: pytest.fail("the last layer ran"))
    tower(pixels()).square().sum().backward()
    assert all(p.grad is None for p in last.parameters())
    assert all(p.grad is None for p in tower.model.post_layernorm.parameters())
    used = tower.model.encoder.layers[:-1]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in used[0].mlp.parameters())
    assert any(name.startswith("model.post_layernorm") for name in tower.state_dict())


def test_the_published_tower_has_its_published_shape():
    arguments = {k: v for k, v in CLIP_L_336.items() if k != "model_type"}
    with torch.device("meta"):
        tower = ClipTower(**arguments)
    assert (tower.num_patches, tower.feature_size) == (576, 1024)
    # CLIP ViT-L/14-336's vision part without its projection to the text's space.
    assert sum(p.numel() for p in tower.parameters()) == 303_507_456
    assert tower.model.config.hidden_act == "quick_gelu"


@kinds
def test_fields_of_a_published_config_that_say_nothing_here_are_taken(kind):
    extra = {"projection_dim": 16, "dropout": 0.0, "transformers_version": "4.31.0"}
    assert KINDS[kind][0](**SIZES, **extra).num_patches == 16


@kinds
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"select_layer": -5}, "0 to 3"),
        ({"select_layer": 4}, "select_layer.*4"),
        ({"image_size": [24, 32]}, r"image_size.*\[24, 32\]"),
        ({"num_attention_heads": 5}, "(number of attention heads|num_heads).*5"),
    ],
)
def test_what_cannot_work_is_refused_by_name(kind, wrong, message):
    with pytest.raises(ConfigError, match=message) as refused:
        KINDS[kind][0](**{**SIZES, **wrong})
    assert f"vision tower `{kind}`" in refused.value.what
