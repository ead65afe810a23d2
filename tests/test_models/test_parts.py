from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydra_mobile.core.errors import ConfigError, HydraError
from hydra_mobile.core.registry import resolve
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.projectors import PROJECTORS
from hydra_mobile.models.projectors.pooled_mlp import PooledMLP, pooling_matrix
from hydra_mobile.models.registry import base_folder
from hydra_mobile.models.vision import VISION_TOWERS
from hydra_mobile.models.vision.efficientnet_lite import (
    EfficientNetLite0,
    SameConv2d,
    fold_batch_norm,
)


@pytest.mark.parametrize(("side", "pooled"), [(7, 4), (8, 4), (7, 7), (5, 2)])
def test_pooling_matrix_is_adaptive_average_pooling(side, pooled):
    x = torch.randn(2, side * side, 3)
    grid = x.transpose(1, 2).reshape(2, 3, side, side)
    expected = F.adaptive_avg_pool2d(grid, pooled).flatten(2).transpose(1, 2)
    torch.testing.assert_close(pooling_matrix(side, pooled) @ x, expected)


def test_projector_refuses_numbers_that_are_no_squares():
    with pytest.raises(ConfigError, match="square"):
        PooledMLP(49, 8, 8, tokens=15)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
def test_same_padding_is_tensorflows(kernel, stride):
    convolution = SameConv2d(2, 4, kernel, stride)
    x = torch.randn(1, 2, 8, 8)
    out = 8 // stride
    total = max((out - 1) * stride + kernel - 8, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    expected = F.conv2d(padded, convolution.weight, convolution.bias, stride)
    torch.testing.assert_close(convolution(x), expected)


def test_folded_batch_norm_computes_the_same():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32, eps=1e-3).eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    tower = EfficientNetLite0()
    checkpoint = _checkpoint_like(tower)
    checkpoint["_conv_stem.weight"] = convolution.weight.detach()
    for key in ("weight", "bias", "running_mean", "running_var"):
        checkpoint[f"_bn0.{key}"] = getattr(norm, key).detach()
    folded = fold_batch_norm(checkpoint)
    tower.load_state_dict(folded)
    x = torch.randn(1, 3, 16, 16)
    expected = norm(F.conv2d(F.pad(x, (0, 1, 0, 1)), convolution.weight, stride=2))
    torch.testing.assert_close(tower.stem(x), expected, atol=1e-5, rtol=1e-5)


def _checkpoint_like(tower: EfficientNetLite0) -> dict[str, torch.Tensor]:
    names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for index, block in enumerate(tower.blocks):
        if block.expand is not None:
            names[f"blocks.{index}.expand"] = (
                f"_blocks.{index}._expand_conv",
                f"_blocks.{index}._bn0",
            )
        names[f"blocks.{index}.depthwise"] = (
            f"_blocks.{index}._depthwise_conv",
            f"_blocks.{index}._bn1",
        )
        names[f"blocks.{index}.project"] = (
            f"_blocks.{index}._project_conv",
            f"_blocks.{index}._bn2",
        )
    checkpoint = {}
    for ours, (convolution, norm) in names.items():
        weight = tower.get_submodule(ours).weight.detach()
        checkpoint[f"{convolution}.weight"] = weight
        for key in ("weight", "running_var"):
            checkpoint[f"{norm}.{key}"] = torch.ones(weight.shape[0])
        for key in ("bias", "running_mean"):
            checkpoint[f"{norm}.{key}"] = torch.zeros(weight.shape[0])
    return checkpoint


def test_efficientnet_lite0_has_its_published_size():
    tower = EfficientNetLite0()
    # 4,652,008 published: the classifier has 1,281,000, and batch normalization a gain and a bias
    # per channel, of which folding keeps the bias.
    convolutions = sum(p.numel() for n, p in tower.named_parameters() if n.endswith("weight"))
    biases = sum(p.numel() for n, p in tower.named_parameters() if n.endswith("bias"))
    assert convolutions + 2 * biases == 4_652_008 - 1_281_000
    with torch.no_grad():
        assert tower(torch.zeros(1, 3, 224, 224)).shape == (1, 49, 1280)


@pytest.mark.parametrize(("kind", "table"), [("tower", VISION_TOWERS), ("projector", PROJECTORS)])
def test_every_registered_part_resolves(kind, table):
    for name in table:
        assert issubclass(resolve(kind, name, table), nn.Module)


def test_unknown_part_names_the_nearest():
    config = MobileVLMConfig(
        vision_config={"model_type": "patch_con"}, text_config={"hidden_size": 64}
    )
    with pytest.raises(HydraError, match="`patch_conv`"):
        MobileVLMForConditionalGeneration(config)


def test_unknown_base_lists_the_valid_ones():
    with pytest.raises(HydraError, match="smol"):
        base_folder("smoll")
