"""Full width on the meta device: keys and shapes of the published checkpoints, nothing allocated.

The keys are those of `original_checkpoints`, written out from the published description.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from original_checkpoints import TOWER, language_shapes, projector_shapes, vision_shapes

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.safetensors_io import Form
from hydra_mobile.models.checkpoints.keys import mobilevlm_layout
from hydra_mobile.models.checkpoints.mobilevlm import read_original, write_original
from hydra_mobile.models.checkpoints.tensor_map import Source, expected_shapes, match
from hydra_mobile.models.published import CLIP_L_336, PUBLISHED, published_config

CHECKPOINTS = [name for name, facts in PUBLISHED.items() if not facts.fresh_projector]
# Hidden, inner, layers of the language model.
LANGUAGE = {"MobileLLaMA-1.4B": (2048, 5632, 24), "MobileLLaMA-2.7B": (2560, 6912, 32)}
PROJECTOR_PARAMETERS = {
    "mobilevlm-1.7b": 18_936_832,
    "mobilevlm-3b": 28_913_920,
    "mobilevlm-v2-1.7b": 6_316_032,
    "mobilevlm-v2-3b": 9_205_760,
}


@dataclass
class Keys:
    """Stands for the files of a checkpoint: names and shapes without values."""

    forms: dict[str, Form]
    folder: object = field(default="checkpoint")


def published_shapes(name: str) -> dict[str, tuple]:
    facts = PUBLISHED[name]
    hidden, inner, layers = LANGUAGE[facts.language]
    tower = vision_shapes(1024, 4096, 24, 336, 14)
    return {
        **language_shapes(32000, hidden, inner, layers),
        **{TOWER + key: shape for key, shape in tower.items()},
        **projector_shapes(facts.projector, 1024, hidden),
    }


def matched(name: str, shapes: dict[str, tuple]):
    import torch

    keys = Keys({key: Form(torch.float16, shape) for key, shape in shapes.items()})
    layout = mobilevlm_layout({"model_type": PUBLISHED[name].projector})
    expected, tokens = expected_shapes(published_config(name))
    assert tokens == 144
    return match(expected, [Source(keys, layout)], tied=False), expected, layout


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_each_key_has_one_parameter_and_each_parameter_one_key(name):
    shapes = published_shapes(name)
    # 24 or 32 layers of 9 tensors and 3 beside them; 24 of 16 and 7; 24 or 6 of the projector.
    layers = LANGUAGE[PUBLISHED[name].language][2]
    assert len(shapes) == layers * 9 + 3 + 24 * 16 + 7 + (6 if "v2" in name else 24)
    found, expected, layout = matched(name, shapes)
    assert not found.ignored
    assert set(found.forms) == set(expected)
    assert len(expected) == len(shapes)
    assert {layout.theirs(ours) for ours in expected} == set(shapes)
    projector = sum(
        math.prod(form.shape) for ours, form in found.forms.items() if ours.startswith("projector.")
    )
    assert projector == PROJECTOR_PARAMETERS[name]


def test_a_layer_too_few_is_named():
    shapes = published_shapes("mobilevlm-v2-1.7b")
    fewer = {key: shape for key, shape in shapes.items() if ".layers.23." not in key}
    # The last layer of the language model and that of the tower.
    with pytest.raises(ArtifactError, match=r"25.*layers\.23\."):
        matched("mobilevlm-v2-1.7b", fewer)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_published_configuration_is_read_and_written(name):
    config = published_config(name)
    written = write_original(config, None, "float16")
    hidden, inner, layers = LANGUAGE[PUBLISHED[name].language]
    assert written["model_type"] == "mobilevlm"
    assert written["mm_projector_type"] == PUBLISHED[name].projector
    assert written["mm_vision_tower"] == "openai/clip-vit-large-patch14-336"
    assert "vision_config" not in written
    assert (written["hidden_size"], written["intermediate_size"]) == (hidden, inner)
    assert written["num_hidden_layers"] == layers
    assert (written["rope_theta"], written["rope_scaling"]) == (10000.0, None)
    read = read_original(written, "config.json")
    again = type(config)(
        vision_config=dict(CLIP_L_336), projector_config=read.projector, text_config=read.text
    )
    assert again.text_config.to_dict() == config.text_config.to_dict()
    assert again.projector_config == config.projector_config
    assert read.select_layer == -2
