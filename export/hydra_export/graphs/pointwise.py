"""Pointwise convolutions as linears over channels, so that they can be quantized like linears.

A 1 x 1 convolution with stride 1 is the same product at every pixel. XNNPACK quantizes the inputs
of linears by row at run time, here by pixel, which keeps the features of a convolutional tower
where one scale for a whole picture loses them.
"""

from __future__ import annotations

from torch import Tensor, nn


class PointwiseLinear(nn.Module):
    """The linear of a pointwise convolution, between two transpositions."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=convolution.bias is not None, device="meta")
        self.linear.in_features = convolution.in_channels
        self.linear.out_features = convolution.out_channels
        self.linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), False)
        if convolution.bias is not None:
            self.linear.bias = nn.Parameter(convolution.bias.detach(), False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C_in, H, W] to [B, C_out, H, W]."""
        y: Tensor = self.linear(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def linearize_pointwise(module: nn.Module) -> int:
    """Replace the pointwise convolutions inside `module`, in place; return how many there were."""
    count = 0
    for name, child in list(module.named_children()):
        if _is_pointwise(child):
            setattr(module, name, PointwiseLinear(child))  # type: ignore[arg-type]
            count += 1
        else:
            count += linearize_pointwise(child)
    return count


def _is_pointwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride == (1, 1)
        and module.padding in ((0, 0), "valid")
        and module.groups == 1
    )
