"""What vision transformers of transformers have in common as towers: stop at the chosen layer.

The whole model is kept, so that a checkpoint read and written again loses nothing; the layers above
the chosen one are neither computed nor trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from hydra_mobile.core.errors import ConfigError


class TransformerTower(nn.Module):
    """Pixels float [B, 3, S, S] to the hidden states [B, P, C] of one layer.

    Args:
        name: of the tower, for messages.
        model: has `embeddings`, `encoder.layers` and a configuration.
        select_layer: index into transformers' `hidden_states`, where 0 is the input of the first
            layer: -2 is the input of the last layer.
        extra_tokens: tokens that stand before the patches; they are dropped.
    """

    def __init__(self, name: str, model: Any, select_layer: int, extra_tokens: int) -> None:
        super().__init__()
        config = model.config
        layers = config.num_hidden_layers
        if not -layers - 1 <= select_layer <= layers:
            raise ConfigError(
                f"vision tower `{name}`: select_layer is {select_layer}, but {layers} layers have "
                f"the hidden states 0 to {layers} (from the end -1 to {-layers - 1})."
            )
        self.num_patches = (config.image_size // config.patch_size) ** 2
        self.feature_size = int(config.hidden_size)
        self._depth = select_layer % (layers + 1)
        self._extra_tokens = extra_tokens
        self.model = model

    def before_layers(self, embedded: Tensor) -> Tensor:
        """Map embeddings [B, extra + P, C] to the input of the first layer."""
        return embedded

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return the patches' hidden states, rows first."""
        hidden = self.before_layers(self.model.embeddings(pixel_values))
        for layer in self.model.encoder.layers[: self._depth]:
            hidden = layer(hidden, None)
        return hidden[:, self._extra_tokens :]


def build_vision_model(
    name: str, config: Callable[..., Any], model: Callable[[Any], Any], arguments: dict[str, Any]
) -> Any:
    """Return transformers' vision model with random weights.

    Args:
        name: of the tower, for messages.
        config: class of the vision configuration.
        model: class of the vision model.
        arguments: fields of `config`.

    Raises:
        ConfigError: a side is no number, or transformers refuses the fields, for example because
            the heads do not divide the width.
    """
    for key in ("image_size", "patch_size"):
        value = arguments.get(key)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(
                f"vision tower `{name}`: {key} is {value!r}, expected a number of pixels.",
                "Images and patches are squares here.",
            )
    try:
        # The fused kernel, on every machine: it exports, and no mask is ever needed.
        return model(config(**arguments, attn_implementation="sdpa"))
    except (StrictDataclassError, ValueError) as error:
        reason = error.__cause__ or error
        raise ConfigError(f"vision tower `{name}`: {reason}") from error
