"""Audio's first phase: the tower and its projection learn to write down speech, as token embeddings in time.

Between a word's rows stand rows of a learned blank, and connectionist temporal classification (Graves et al., ICML
2006) finds which row says what. Knows no language model but its token embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_encoder.tower import AudioTower, Codebook
from trichord.model_config import ModelConfig
from trichord_training.device import in_bfloat16
from trichord_training.embedding_head import EmbeddingHead


class Listener(nn.Module):
    """The tower and what reads its rows: V tokens, and behind them the blank."""

    def __init__(self, config: ModelConfig, embeddings_VD: Tensor) -> None:
        super().__init__()
        linear = config.audio.model_copy(update={"codebook_size": 0})
        self.ears = AudioTower(linear, config.llm.hidden_size)
        self.head = EmbeddingHead(embeddings_VD, num_learned=1)

    @property
    def blank(self) -> int:
        """Its index among the logits."""
        return len(self.head.embeddings_VD)

    @property
    def proj(self) -> nn.Linear:
        """The projection."""
        assert isinstance(self.ears.proj, nn.Linear), "made so"
        return self.ears.proj

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """Logits float32 [B, R, V + 1] of spectrograms [B, M, 2 T]; the two rows around a window say nothing."""
        with in_bfloat16(mel_BMT.device):
            rows = self.ears(mel_BMT)[:, 1:-1]
        return self.head(rows)  # type: ignore[no-any-return]


class Scribe(nn.Module):
    """The tower as it serves: its projection is a codebook of all that can be said, and of a pause."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ears = AudioTower(config.audio, config.llm.hidden_size)

    @property
    def blank(self) -> int:
        """The pause's index among the logits."""
        return self._scores.out_features - 1

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """Logits float32 [B, R, V + 1] of spectrograms [B, M, 2 T]."""
        with in_bfloat16(mel_BMT.device):
            states = self.ears.states(mel_BMT)
        return self._scores(states.float())  # type: ignore[no-any-return]

    @property
    def _scores(self) -> nn.Linear:
        assert isinstance(self.ears.proj, Codebook), "the preset has one"
        return self.ears.proj.scores


@torch.no_grad()
def with_codebook(listener: Listener, pause_1D: Tensor) -> dict[str, Tensor]:
    """The tensors of a tower that mixes what the listener's rows are nearest to.

    The scores are the listener's logits, to the letter: both maps are linear. Of the rows, those of tokens are their
    embeddings, and that of the blank is ``pause_1D``.
    """
    head, proj = listener.head, listener.proj
    table = torch.cat([head.embeddings_VD, head.learned])
    rest = {name: value for name, value in listener.ears.state_dict().items() if not name.startswith("proj.")}
    return rest | {
        "proj.scores.weight": table @ proj.weight,
        "proj.scores.bias": table @ proj.bias - table.square().sum(-1) / 2,
        "proj.rows.weight": torch.cat([head.embeddings_VD, pause_1D]).T.contiguous(),
    }


def transcription_loss(logits_BRV: Tensor, spoken: Sequence[Sequence[int]], blank: int) -> Tensor:
    """CTC's loss a token, averaged over the batch; ``spoken`` are indices among the logits."""
    log_probs = logits_BRV.log_softmax(-1).transpose(0, 1)
    targets = torch.tensor([token for tokens in spoken for token in tokens], device=logits_BRV.device)
    rows = torch.full((len(spoken),), logits_BRV.shape[1])
    lengths = torch.tensor([len(tokens) for tokens in spoken])
    return functional.ctc_loss(log_probs, targets, rows, lengths, blank=blank, zero_infinity=True)


def heard(logits_RV: Tensor, blank: int) -> list[int]:
    """The likeliest tokens of a clip: repeats are one, blanks are none."""
    best = logits_RV.argmax(-1).tolist()
    return [token for place, token in enumerate(best) if token != blank and (place == 0 or best[place - 1] != token)]
