"""The token embedding as one graph: ids in, rows of the table out."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """The table of a language model, sharing its weights."""

    def __init__(self, language_model: Any) -> None:
        super().__init__()
        self.table: nn.Embedding = language_model.get_input_embeddings()
        # Only training reads it, and ExecuTorch's quantized lookup is not matched where it is set.
        self.table.padding_idx = None

    def halve(self) -> None:
        """Hold the table in float16, as a copy: the model's own, often the head's, stays."""
        weight = self.table.weight.detach().half()
        self.table = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids int64 [1, n] to embeddings float32 [1, n, hidden]."""
        return cast(Tensor, self.table(ids).float())
