"""Projectors against computations written here from the published description of their layers.

Loops and sums in float64, no layer of torch.nn: what they share with the projectors is the weights.
"""

from __future__ import annotations

import math

import pytest
import torch

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.projectors.ldpnet import LDPNet
from hydra_mobile.models.projectors.ldpnetv2 import LDPNetV2
from hydra_mobile.models.projectors.mlp import MLP

CHANNELS, HIDDEN = 12, 16


# -- the independent computation ------------------------------------------------------------------


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def relu6(x):
    return x.clamp(0, 6)


def hardsigmoid(x):
    return relu6(x + 3) / 6


def hardswish(x):
    return x * hardsigmoid(x)


def depthwise(x, kernel, stride):
    """[B, C, H, W] with a kernel [C, 1, 3, 3], zeros around: one output cell after the other."""
    batch, channels, height, width = x.shape
    padded = torch.zeros(batch, channels, height + 2, width + 2, dtype=x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    rows, columns = -(-height // stride), -(-width // stride)
    out = torch.empty(batch, channels, rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            window = padded[:, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
            out[:, :, i, j] = (window * kernel[:, 0]).sum((2, 3))
    return out


def channel_norm(x, weights, name, eps=1e-5):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    normed = (x - mean) / torch.sqrt(variance + eps)
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return normed * gain[:, None, None] + bias[:, None, None]


def pointwise(x, kernel):
    return torch.einsum("oc,bchw->bohw", kernel[:, :, 0, 0], x)


def squeeze_excitation(x, weights, name):
    mean = x.mean((2, 3))
    inner = mean @ weights[f"{name}.fc1.weight"][:, :, 0, 0].T + weights[f"{name}.fc1.bias"]
    outer = inner.clamp(min=0) @ weights[f"{name}.fc2.weight"][:, :, 0, 0].T
    return x * hardsigmoid(outer + weights[f"{name}.fc2.bias"])[:, :, None, None]


def grid_of(x, side):
    """Cell (i, j) of the grid is patch i * side + j."""
    grid = torch.empty(x.shape[0], x.shape[2], side, side, dtype=x.dtype)
    for patch in range(side * side):
        grid[:, :, patch // side, patch % side] = x[:, patch]
    return grid


def tokens_of(grid):
    cells = [grid[:, :, i, j] for i in range(grid.shape[2]) for j in range(grid.shape[3])]
    return torch.stack(cells, 1)


def ldpnet(x, weights, side):
    x = linear(gelu(linear(x, weights, "mlp.1")), weights, "mlp.3")
    grid = grid_of(x, side)
    for index, stride in ((1, 1), (2, 2)):
        name = f"mb_block.{index}.block"
        y = depthwise(grid, weights[f"{name}.0.0.weight"], stride)
        y = hardswish(channel_norm(y, weights, f"{name}.0.1"))
        y = squeeze_excitation(y, weights, f"{name}.1")
        y = channel_norm(pointwise(y, weights[f"{name}.2.0.weight"]), weights, f"{name}.2.1")
        grid = y + grid if stride == 1 else y
    return tokens_of(grid)


def average_pooled(grid, side):
    size = grid.shape[-1]
    out = torch.empty(*grid.shape[:2], side, side, dtype=grid.dtype)
    edges = [(i * size // side, math.ceil((i + 1) * size / side)) for i in range(side)]
    for i, (top, bottom) in enumerate(edges):
        for j, (left, right) in enumerate(edges):
            out[:, :, i, j] = grid[:, :, top:bottom, left:right].mean((2, 3))
    return out


def ldpnetv2(x, weights, side, pooled):
    x = linear(gelu(linear(x, weights, "mlp.mlp.0")), weights, "mlp.mlp.2")
    grid = average_pooled(grid_of(x, side), pooled)
    moved = depthwise(grid, weights["peg.peg.0.weight"], 1)
    return tokens_of(moved + weights["peg.peg.0.bias"][:, None, None] + grid)


def mlp(x, weights, depth):
    x = linear(x, weights, "layers.0")
    for index in range(1, depth):
        x = linear(gelu(x), weights, f"layers.{2 * index}")
    return x


# -- equality -------------------------------------------------------------------------------------


def varied(projector, seed=0):
    """Random weights, norms and biases included, large enough for every part to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return projector.eval()


def compare(projector, patches, expected):
    features = torch.randn(2, patches, CHANNELS, generator=torch.Generator().manual_seed(9))
    weights = {name: value.double() for name, value in projector.state_dict().items()}
    with torch.no_grad():
        found = projector(features)
    wanted = expected(features.double(), weights)
    assert found.shape == (2, projector.num_tokens, HIDDEN)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("side", "tokens"), [(6, 9), (4, 4), (5, 9), (1, 1)])
def test_ldpnet_is_what_was_published(side, tokens):
    projector = varied(LDPNet(side * side, CHANNELS, HIDDEN))
    assert projector.num_tokens == tokens
    compare(projector, side * side, lambda x, w: ldpnet(x, w, side))


@pytest.mark.parametrize(("side", "pooled"), [(6, 3), (7, 3), (5, 4), (4, 4)])
def test_ldpnetv2_is_what_was_published(side, pooled):
    projector = varied(LDPNetV2(side * side, CHANNELS, HIDDEN, tokens=pooled * pooled))
    compare(projector, side * side, lambda x, w: ldpnetv2(x, w, side, pooled))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_mlp_is_llavas(depth):
    compare(varied(MLP(5, CHANNELS, HIDDEN, depth)), 5, lambda x, w: mlp(x, w, depth))


def test_every_weight_of_a_projector_has_a_say():
    for projector in (LDPNet(16, CHANNELS, HIDDEN), LDPNetV2(16, CHANNELS, HIDDEN, tokens=4)):
        varied(projector)
        projector(torch.randn(2, 16, CHANNELS)).square().sum().backward()
        silent = [n for n, p in projector.named_parameters() if not p.grad.abs().sum() > 0]
        assert silent == []


# -- names and sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("projector", "hidden", "count"),
    [
        (LDPNet, 2048, 18_936_832),
        (LDPNet, 2560, 28_913_920),
        (LDPNetV2, 2048, 6_316_032),
        (LDPNetV2, 2560, 9_205_760),
    ],
)
def test_published_sizes(projector, hidden, count):
    with torch.device("meta"):
        made = projector(576, 1024, hidden)
    assert sum(p.numel() for p in made.parameters()) == count
    assert made.num_tokens == 144
    assert made(torch.empty(1, 576, 1024, device="meta")).shape == (1, 144, hidden)


def test_names_are_those_of_the_published_checkpoints():
    blocks = {
        f"mb_block.{index}.block.{rest}"
        for index in (1, 2)
        for rest in (
            "0.0.weight", "0.1.weight", "0.1.bias", "1.fc1.weight", "1.fc1.bias", "1.fc2.weight",
            "1.fc2.bias", "2.0.weight", "2.1.weight", "2.1.bias",
        )
    }  # fmt: skip
    linears = {f"mlp.{index}.{part}" for index in (1, 3) for part in ("weight", "bias")}
    assert set(LDPNet(16, 8, 16).state_dict()) == blocks | linears
    assert set(LDPNetV2(16, 8, 16, tokens=4).state_dict()) == {
        "mlp.mlp.0.weight", "mlp.mlp.0.bias", "mlp.mlp.2.weight", "mlp.mlp.2.bias",
        "peg.peg.0.weight", "peg.peg.0.bias",
    }  # fmt: skip
    assert set(MLP(4, 8, 16).state_dict()) == {
        f"layers.{index}.{part}" for index in (0, 2) for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LDPNet(15, 8, 16), "`ldpnet`.*15"),
        (lambda: LDPNet(16, 8, 18), "hidden_size 18"),
        (lambda: LDPNetV2(15, 8, 16), "`ldpnetv2`.*15"),
        (lambda: LDPNetV2(16, 8, 16, tokens=5), "5 tokens"),
        (lambda: LDPNetV2(16, 8, 16), "144.*16"),
        (lambda: MLP(4, 8, 16, depth=0), "depth.*0"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
