"""Reads rows of media as if they were token embeddings: what the first phase trains towers and connectors by.

The score of a token is how near a row is to its embedding, so that what is learnt is to speak in the language model's
own input, without running it. Knows no tower.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EmbeddingHead(nn.Module):
    """Logits [..., V] of rows [..., D] over V fixed token embeddings, and learned ones if asked for."""

    embeddings_VD: Tensor

    def __init__(self, embeddings_VD: Tensor, num_learned: int = 0) -> None:
        """``num_learned`` further vectors stand behind the tokens; they start where the tokens' middle is."""
        super().__init__()
        self.register_buffer("embeddings_VD", embeddings_VD.float())
        self.learned = nn.Parameter(embeddings_VD.float().mean(0).expand(num_learned, -1).clone())

    def forward(self, rows: Tensor) -> Tensor:
        """Half the negative squared distance to each embedding, up to what is equal for all of them."""
        table = torch.cat([self.embeddings_VD, self.learned])
        return rows.float() @ table.T - table.square().sum(-1) / 2
