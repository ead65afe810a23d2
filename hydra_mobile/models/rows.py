"""Rows: what a host passes to a text model for each token, as opaque to it as an embedding.

A row is an embedding and, where a family needs them, more columns: what a deep stack adds behind
the first layers, how positions move on several rotary axes, whether the token belongs to a picture
that attends both ways. A program is then called in one way for every family:

    encode_image(pixels) -> rows, embed(ids) -> rows, decode(rows, position) -> logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydra_mobile.core.errors import HydraError


@dataclass(frozen=True)
class RowLayout:
    """The columns of a row.

    Attributes:
        hidden: of the embedding.
        deep: features of so many layers follow, `hidden` columns each (DeepStack, arXiv
            2406.04334).
        axes: four columns follow: how far the position moves after this row, then its offsets on
            the axes time, height and width (multi-axis rotary positions).
        marks: one column follows, above 0 in a picture, whose rows see each other both ways: 1, or
            the number of the picture where there are several.
    """

    hidden: int
    deep: int = 0
    axes: bool = False
    marks: bool = False

    @property
    def embedded(self) -> int:
        """Columns that the vision encoder computes for a picture's row."""
        return self.hidden * (1 + self.deep)

    @property
    def columns(self) -> int:
        """Columns that are constants of a token's place."""
        return 4 * self.axes + self.marks

    @property
    def width(self) -> int:
        """All columns."""
        return self.embedded + self.columns

    def token_columns(self) -> Tensor:
        """Return the constant columns [columns] of a token of text."""
        found = torch.zeros(self.columns)
        if self.axes:
            found[0] = 1
        return found

    def picture_columns(self, count: int) -> Tensor:
        """Return the constant columns [count, columns] of a square picture."""
        found = torch.zeros(count, self.columns)
        if self.axes:
            side = round(count**0.5)
            at = torch.arange(count)
            found[:, 2], found[:, 3] = at // side, at % side
            # Text goes on behind the longest axis of the picture.
            found[-1, 0] = side
        if self.marks:
            found[:, -1] = 1
        return found


class PictureRows(nn.Module):
    """From a tower's features to a picture's rows.

    Features are what the projector reads and, with a deep stack, what the tower's own mergers made
    of earlier layers: these are frozen with the tower.

    Args:
        layout: of the rows.
        count: rows of a picture, N.
        grid: features go to the projector as [B, *grid, C] in place of [B, P, C].
    """

    def __init__(self, layout: RowLayout, count: int, grid: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.layout, self.count, self.grid = layout, count, grid
        self.register_buffer("constants", layout.picture_columns(count), persistent=False)

    def forward(self, projector: nn.Module, features: Tensor) -> Tensor:
        """Map features [B, P, C] to rows [B, N, width]."""
        layout, batch = self.layout, features.shape[0]
        # A picture's share of the deep features in each of its P features.
        extra = layout.deep * layout.hidden * self.count // features.shape[1]
        main = features[..., : features.shape[-1] - extra]
        if self.grid:
            main = main.reshape(batch, *self.grid, main.shape[-1])
        parts = [projector(main).reshape(batch, self.count, layout.hidden)]
        if extra:
            parts.append(features[..., -extra:].reshape(batch, self.count, -1))
        if layout.columns:
            constants: Any = self.constants
            parts.append(constants.to(parts[0].dtype).expand(batch, -1, -1))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def token_rows(embeddings: Tensor, layout: RowLayout) -> Tensor:
    """Return rows [B, S, width] of embeddings [B, S, hidden] of text."""
    if layout.width == layout.hidden:
        return embeddings
    constants = F.pad(layout.token_columns(), (layout.embedded - layout.hidden, 0))
    constants = constants.to(embeddings).expand(*embeddings.shape[:2], -1)
    return torch.cat([embeddings, constants], -1)


class SlotCache:
    """What transformers' layers ask of a cache, over one buffer a kind of state and layer.

    Every state is kept by slot, one for each row: keys and values, the inputs of a convolution (not
    only the last few), the constant columns of rows. So a host can go back to any earlier row.

    All buffers are [B, heads, slots, size]; `buffers` maps a name to one.

    Args:
        layers: kind of each layer.
        buffers: see `shapes`.
        kernel: length of short convolutions.
    """

    is_compileable = True

    def __init__(self, layers: list[str], buffers: dict[str, Tensor], kernel: int = 1) -> None:
        self.layers, self.buffers, self.kernel = layers, buffers, kernel
        self.length = 0
        #: Slots of the rows of this call, int64 [S], and how many slots are looked at.
        self.where = torch.zeros(0, dtype=torch.long)
        self.seen = 0

    def at(self, where: Tensor, seen: int) -> None:
        """Say which slots the next rows go to."""
        self.where, self.seen = where, seen

    def write(self, name: str, values: Tensor) -> Tensor:
        """Put values [B, heads, S, size] into their slots; return the slots that are looked at."""
        buffer = self.buffers[name].index_copy(2, self.where, values.to(self.buffers[name].dtype))
        self.buffers[name] = buffer
        return buffer[:, :, : self.seen]

    def update(self, k: Tensor, v: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep keys and values [B, heads, S, D]; return all so far."""
        return self.write(f"{layer}.key", k), self.write(f"{layer}.value", v)

    def update_conv_state(self, x: Tensor, layer: int, *_: Any, **__: Any) -> Tensor:
        """Keep inputs x [B, C, S]; return them behind the K - 1 before them."""
        before = self.kernel - 1
        wanted = self.where[:1] - before + torch.arange(before, device=x.device)
        old = self.buffers[f"{layer}.conv"].index_select(2, wanted.clamp(min=0))
        old = old * (wanted >= 0).to(old.dtype)[:, None]
        self.write(f"{layer}.conv", x.transpose(1, 2)[:, None])
        return torch.cat([old[:, 0].transpose(1, 2).to(x.dtype), x], -1)

    def get_conv_state(self, layer: int, *_: Any, **__: Any) -> Tensor:
        """Return the inputs of a convolution by slot."""
        return self.buffers[f"{layer}.conv"]

    def is_recording_past(self, layer: int) -> bool:
        """Take the general path of a convolution, whatever the length of a call."""
        return True

    def has_previous_state(self, *_: Any, **__: Any) -> bool:
        """Whether there may be earlier rows."""
        return True

    def get_seq_length(self, *_: Any) -> int:
        """Return how many rows were kept."""
        return self.length

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        """Return what masks are made for; they are given."""
        return self.seen, 0

    def crop(self, count: int) -> None:
        """Forget the last `-count` rows."""
        self.length += count


class GrowingCache(SlotCache):
    """A cache whose buffers grow with what is put in."""

    _STEP = 256

    def reserve(self, length: int) -> None:
        """Make room for `length` rows in all."""
        for name, buffer in self.buffers.items():
            if buffer.shape[2] < length:
                more = -(-length // self._STEP) * self._STEP - buffer.shape[2]
                self.buffers[name] = F.pad(buffer, (0, 0, 0, more))


class RowText:
    """A text model of transformers that reads rows.

    Args:
        model: the text model without its head.
        layout: of the rows.
    """

    def __init__(self, model: Any, layout: RowLayout) -> None:
        self.model, self.layout = model, layout
        self.config: Any = model.config
        count = int(self.config.num_hidden_layers)
        self.layers: list[str] = list(
            getattr(self.config, "layer_types", None) or ["full_attention"] * count
        )
        self.window = int(getattr(self.config, "sliding_window", None) or 0)
        self.kernel = int(getattr(self.config, "conv_L_cache", 1))

    @property
    def plain(self) -> bool:
        """Whether rows are embeddings, and all layers look back at everything."""
        return self.layout.width == self.layout.hidden and set(self.layers) == {"full_attention"}

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return name -> (heads, size) of every state that is kept by slot."""
        config = self.config
        size = int(getattr(config, "head_dim", None) or 0)
        size = size or int(config.hidden_size) // int(config.num_attention_heads)
        found: dict[str, tuple[int, int]] = {}
        for index, kind in enumerate(self.layers):
            if kind == "conv":
                found[f"{index}.conv"] = (1, int(config.hidden_size))
                continue
            shape = (int(config.num_key_value_heads), size)
            found[f"{index}.key"] = found[f"{index}.value"] = shape
        if self.layout.columns:
            found["rows.columns"] = (1, self.layout.columns)
        return found

    def new_cache(self, rows: Tensor) -> GrowingCache:
        """Return an empty cache for rows [B, S, width] like these."""
        buffers = {
            name: rows.new_zeros(rows.shape[0], heads, 0, size)
            for name, (heads, size) in self.shapes().items()
        }
        return GrowingCache(self.layers, buffers, self.kernel)

    def __call__(
        self,
        rows: Tensor,
        cache: SlotCache | None = None,
        seen: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Map rows [B, S, width] to last hidden states [B, S, hidden].

        Args:
            rows: of the tokens.
            cache: told by `at` where they go; None: they are all there is.
            seen: bool [B, S, S], True where row may look at column, for conversations that share a
                prefix; None: each looks back at all. Without a cache.
            places: int64 [B, S], each row's place in its conversation, with `seen`.

        Raises:
            HydraError: conversations share a prefix, and a layer is a convolution over rows.
        """
        if seen is not None and "conv" in self.layers:
            raise HydraError(
                "Several questions share one row, and this text model has convolutions over rows: "
                "what stands between a question and its picture would leak into it.",
                "Train with data.share_prefix=false.",
            )
        layout = self.layout
        x = rows[..., : layout.hidden]
        constants = rows[..., layout.embedded :].float()
        kept = constants
        if cache is not None and layout.columns:
            kept = cache.write("rows.columns", constants[:, None])[:, 0].float()
        where = torch.arange(rows.shape[1], device=rows.device) if cache is None else cache.where
        slots = torch.arange(rows.shape[1] if cache is None else cache.seen, device=rows.device)
        positions = where[None]
        visible = (slots <= where[:, None])[None] if seen is None else seen
        if layout.axes:
            positions = self._positions(constants, kept, where, slots, seen)
        masks = self._masks(x, constants, kept, where, slots, visible, places)
        if layout.deep:
            return self._with_deep_stack(rows, x, masks, positions, cache)
        found: Tensor = self.model(
            inputs_embeds=x,
            attention_mask=masks,
            position_ids=positions,
            cache=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return found

    def _positions(
        self, constants: Tensor, kept: Tensor, where: Tensor, slots: Tensor, seen: Tensor | None
    ) -> Tensor:
        """Return positions int64 [3, B, S]: what earlier rows moved, and the offsets of each."""
        moves = constants[..., 0]
        if seen is None:
            before = (kept[..., 0] * (slots < where[0])).sum(-1, keepdim=True)
            base = before + moves.cumsum(-1) - moves
        else:
            base = (seen.to(moves.dtype) @ moves[..., None])[..., 0] - moves
        return (base[None] + constants[..., 1:4].permute(2, 0, 1)).round().long()

    def _masks(
        self,
        x: Tensor,
        constants: Tensor,
        kept: Tensor,
        where: Tensor,
        slots: Tensor,
        visible: Tensor,
        places: Tensor | None,
    ) -> Any:
        """Return additive masks [B or 1, 1, S, T], by kind of layer where there are several."""
        if self.layout.marks:
            # Of the same picture: its rows all have its number.
            own, others = constants[..., -1:], kept[..., -1][:, None]
            picture = (own > 0) & (own == others)
            visible = visible | (picture & (slots <= where[-1])[None, None])

        def additive(seen: Tensor) -> Tensor:
            lowest = torch.finfo(x.dtype).min
            return torch.where(seen, 0.0, lowest).to(x.dtype)[:, None]

        full = additive(visible)
        if not self.layout.marks and set(self.layers) == {"full_attention"}:
            return full
        masks: dict[str, Tensor | None] = {"full_attention": full}
        if "sliding_attention" in self.layers:
            apart = (where[:, None] - slots)[None]
            if places is not None:
                apart = places[:, :, None] - places[:, None]
            masks["sliding_attention"] = additive(visible & (apart < self.window))
        if "conv" in self.layers:
            masks["conv"] = None
        return masks

    def _with_deep_stack(
        self, rows: Tensor, x: Tensor, masks: Any, positions: Tensor, cache: Any
    ) -> Tensor:
        """Run the layers one by one; features are added behind the first of them."""
        hidden, embedded = self.layout.hidden, self.layout.embedded
        deep = rows[..., hidden:embedded].chunk(self.layout.deep, -1)
        tables = self.model.rotary_emb(x, positions)
        for index, layer in enumerate(self.model.layers):
            x = layer(
                x, attention_mask=masks, position_embeddings=tables, position_ids=None, cache=cache
            )
            if index < len(deep):
                x = x + deep[index].to(x.dtype)
        found: Tensor = self.model.norm(x)
        return found
