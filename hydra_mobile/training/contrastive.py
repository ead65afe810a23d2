"""Contrastive alignment of the projector: a cheap start for stage I, without the language model.

Pulls the mean image embedding of a picture towards the mean token embedding of its caption and
away from the other captions of the batch (InfoNCE in both directions, captions that are equal
count as one). Not part of HyDRA: our choice, because a step costs milliseconds on a CPU and stage I
then starts from embeddings that the language model half understands.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_TEMPERATURE = 0.07


def caption_vectors(embedding: Tensor, captions: list[list[int]]) -> Tensor:
    """Return unit vectors float32 [n, hidden]: mean token embeddings, common part removed.

    Args:
        embedding: table [V, hidden].
        captions: token ids of n captions.
    """
    table = embedding.float()
    means = torch.stack([table[torch.tensor(ids)].mean(0) for ids in captions])
    return F.normalize(means - means.mean(0), dim=1)


def alignment_loss(
    image_embeddings: Tensor, targets: Tensor, same: Tensor, token_rms: float
) -> Tensor:
    """Return the loss of one batch.

    Args:
        image_embeddings: [B, N, hidden], the projector's output.
        targets: unit vectors [B, hidden] of the captions.
        same: bool [B, B], True where two captions are equal.
        token_rms: root mean square of the token embeddings, which image embeddings should share;
            the contrast alone would leave their size free.
    """
    means = image_embeddings.float().mean(1)
    scores = F.normalize(means, dim=1) @ targets.T / _TEMPERATURE
    wanted = same.float() / same.float().sum(1, keepdim=True)
    contrast = F.cross_entropy(scores, wanted) + F.cross_entropy(scores.T, wanted)
    rms = image_embeddings.float().pow(2).mean().sqrt()
    return contrast / 2 + (rms / token_rms).log().pow(2)
