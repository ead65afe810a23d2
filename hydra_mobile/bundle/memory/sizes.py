"""The sizes of a model that its footprint needs and that no file of a bundle tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel


class _LargestStep(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most bytes of activations that one operator reads and writes."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0
        self._weights = weights

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = {
            value.untyped_storage().data_ptr(): value.numel() * value.element_size()
            for value in (*args, out)
            if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in self._weights
        }
        self.bytes = max(self.bytes, sum(tensors.values()))
        return out


def vision_step(model: VisionLanguageModel, image_size: int) -> int:
    """Return the most bytes that one operator of the vision encoder reads and writes in fp32.

    Args:
        model: on the CPU; it encodes one black picture.
        image_size: side of the picture in pixels.
    """
    weights = {
        tensor.untyped_storage().data_ptr()
        for part in (model.vision_tower, model.projector)
        for tensor in (*part.parameters(), *part.buffers())
    }
    step = _LargestStep(weights)
    with torch.no_grad(), step:
        model.encode_image(torch.zeros(1, 3, image_size, image_size))
    return step.bytes


def sizes_of(model: VisionLanguageModel, image_size: int) -> dict[str, int]:
    """Return the manifest's `sizes`: counts, and bytes for `vision_step`.

    What hosts pass for a token may be wider than the model, and not every layer keeps keys and
    values: both are counted here, not taken from `shapes`.
    """
    text: Any = model.config.text_config
    reader = model.row_text
    return {
        "hidden_size": int(text.hidden_size),
        "heads": int(text.num_attention_heads),
        "intermediate_size": int(text.intermediate_size),
        "vision_step": vision_step(model, image_size),
        # Of keys, values and other states that the cache keeps for one token.
        "cache_values": sum(heads * size for heads, size in reader.shapes().values()),
    }
