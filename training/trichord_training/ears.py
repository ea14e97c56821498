"""Audio's first phase: the tower and its projection learn to write down speech, as token embeddings in time.

Between a word's rows stand rows of a learned blank, and connectionist temporal classification (Graves et al., ICML
2006) finds which row says what. Knows no language model but its token embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from trichord_training.embedding_head import EmbeddingHead

from audio_encoder.tower import AudioTower
from trichord.model_config import ModelConfig


class Listener(nn.Module):
    """The tower and what reads its rows: V tokens, and behind them the blank."""

    def __init__(self, config: ModelConfig, embeddings_VD: Tensor) -> None:
        super().__init__()
        self.ears = AudioTower(config.audio, config.llm.hidden_size)
        self.head = EmbeddingHead(embeddings_VD, num_learned=1)

    @property
    def blank(self) -> int:
        """Its index among the logits."""
        return len(self.head.embeddings_VD)

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """Logits [B, R, V + 1] of the rows that were heard; those around a window say nothing."""
        return self.head(self.ears(mel_BMT)[:, 1:-1])  # type: ignore[no-any-return]


def transcription_loss(logits_BRV: Tensor, spoken: Sequence[Sequence[int]], blank: int) -> Tensor:
    """CTC's loss a token, averaged over the batch; ``spoken`` are indices among the logits."""
    log_probs = logits_BRV.log_softmax(-1).transpose(0, 1)
    targets = torch.tensor([token for tokens in spoken for token in tokens])
    rows = torch.full((len(spoken),), logits_BRV.shape[1])
    lengths = torch.tensor([len(tokens) for tokens in spoken])
    return functional.ctc_loss(log_probs, targets, rows, lengths, blank=blank, zero_infinity=True)


def heard(logits_RV: Tensor, blank: int) -> list[int]:
    """The likeliest tokens of a clip: repeats are one, blanks are none."""
    best = logits_RV.argmax(-1).tolist()
    return [token for place, token in enumerate(best) if token != blank and (place == 0 or best[place - 1] != token)]
