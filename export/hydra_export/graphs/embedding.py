"""The token embedding as one graph: ids in, rows of the table out."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from hydra_mobile.models.rows import RowLayout, token_rows


class TokenEmbedding(nn.Module):
    """The table of a language model, sharing its weights.

    Args:
        language_model: has the table.
        layout: of the rows; None: rows are embeddings.
    """

    def __init__(self, language_model: Any, layout: RowLayout | None = None) -> None:
        super().__init__()
        self.table: nn.Embedding = language_model.get_input_embeddings()
        self.layout = layout
        self.scale = table_scale(self.table)
        if self.scale != 1.0:
            plain = nn.Embedding(1, 1, device="meta")
            plain.num_embeddings, plain.embedding_dim = self.table.weight.shape
            plain.weight = self.table.weight
            self.table = plain
        # Only training reads it, and ExecuTorch's quantized lookup is not matched where it is set.
        self.table.padding_idx = None

    def halve(self) -> None:
        """Hold the table in float16, as a copy: the model's own, often the head's, stays."""
        weight = self.table.weight.detach().half()
        self.table = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids int64 [1, n] to rows float32 [1, n, width]."""
        found = cast(Tensor, self.table(ids).float())
        if self.scale != 1.0:
            found = found * self.scale
        return token_rows(found, self.layout) if self.layout else found


def table_scale(table: nn.Module) -> float:
    """Return what a table of transformers multiplies its rows by."""
    return float(getattr(table, "scalar_embed_scale", 1.0))
