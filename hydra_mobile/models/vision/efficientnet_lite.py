"""EfficientNet-Lite0 without batch normalization: the frozen tower of base `smol`.

The Lite family drops squeeze-and-excitation and swish for mobile kernels. Batch normalization is
folded into the convolutions when the base is made (`fold_batch_norm`), because the tower is frozen:
fewer kernels, the same function. Cannot be trained from scratch for that reason.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Kernel, stride, expansion, output channels, repeats of each stage (Lite0: width = depth = 1).
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM = 32
_HEAD = 1280
_BATCH_NORM_EPS = 1e-3


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: where stride is 2, one more at the far side."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        total = kernel - stride
        near, far = total // 2, total - total // 2
        symmetric = near == far
        super().__init__(
            inputs, outputs, kernel, stride, padding=near if symmetric else 0, groups=groups
        )
        self._far_padding = None if symmetric else (near, far, near, far)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, H, W]; H and W are divided by the stride exactly when they are even."""
        if self._far_padding is not None:
            x = F.pad(x, self._far_padding)
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; a skip connection where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SameConv2d(inputs, inner, 1, 1) if expansion != 1 else None
        self.depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv2d(inner, outputs, 1, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C_in, H, W] to [B, C_out, H / stride, W / stride]."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        result: Tensor = x + y if self.skip else y
        return result


class EfficientNetLite0(nn.Module):
    """Pixels float [B, 3, S, S] to features [B, (S/32)^2, 1280]."""

    def __init__(self, image_size: int = 224) -> None:
        super().__init__()
        self.num_patches = (image_size // 32) ** 2
        self.feature_size = _HEAD
        self.stem = SameConv2d(3, _STEM, 3, 2)
        blocks: list[nn.Module] = []
        channels = _STEM
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(
                    InvertedResidual(
                        channels, outputs, kernel, stride if repeat == 0 else 1, expansion
                    )
                )
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv2d(channels, _HEAD, 1, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return the last feature map as patches, rows first."""
        x = F.relu6(self.head(self.blocks(F.relu6(self.stem(pixel_values)))))
        return x.flatten(2).transpose(1, 2)


def fold_batch_norm(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map the published checkpoint to this module's state dict, batch normalization folded.

    Args:
        checkpoint: keys `_conv_stem.weight`, `_bn0.*`, `_blocks.{i}._expand_conv.weight`, ...

    Returns:
        State dict of `EfficientNetLite0`: w' = w g / sqrt(v + eps), b' = b - m g / sqrt(v + eps).
    """
    folded: dict[str, Tensor] = {}

    def fold(target: str, convolution: str, norm: str) -> None:
        gain = checkpoint[f"{norm}.weight"].double() / torch.sqrt(
            checkpoint[f"{norm}.running_var"].double() + _BATCH_NORM_EPS
        )
        weight = checkpoint[f"{convolution}.weight"].double() * gain[:, None, None, None]
        bias = checkpoint[f"{norm}.bias"].double() - checkpoint[f"{norm}.running_mean"] * gain
        folded[f"{target}.weight"] = weight.float()
        folded[f"{target}.bias"] = bias.float()

    fold("stem", "_conv_stem", "_bn0")
    fold("head", "_conv_head", "_bn1")
    block_count = sum(repeats for *_, repeats in _STAGES)
    for index in range(block_count):
        source = f"_blocks.{index}"
        if f"{source}._expand_conv.weight" in checkpoint:
            fold(f"blocks.{index}.expand", f"{source}._expand_conv", f"{source}._bn0")
        fold(f"blocks.{index}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1")
        fold(f"blocks.{index}.project", f"{source}._project_conv", f"{source}._bn2")
    return folded
