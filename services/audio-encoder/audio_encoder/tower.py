"""The audio tower: Whisper's encoder, pooling, projection and the rows around a window.

Source: arXiv 2212.04356 (encoder), arXiv 2502.15803 sections 3.2 and 3.4 (connector). Attributes are named as OpenAI's
and the checkpoint's tensors are. Knows no samples and no checkpoint files.

Shapes: B windows, M mel bands, T positions, D width, H heads, R rows, L the decoder's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trichord.model_config import AudioConfig


class AudioTower(nn.Module):
    """Log-mel windows to embedding rows."""

    def __init__(self, config: AudioConfig, hidden_size: int) -> None:
        """``hidden_size``: width of the decoder that the rows are for."""
        super().__init__()
        width = config.n_state
        self.avg_pool = config.avg_pool
        self.conv1 = nn.Conv1d(config.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        # A parameter, not a formula: sinusoids made in bfloat16 are off by up to 2, so the trained ones are loaded.
        self.positional_embedding = nn.Parameter(torch.zeros(config.n_ctx, width))
        self.blocks = nn.ModuleList(Block(width, config.n_head) for _ in range(config.n_layer))
        self.ln_post = nn.LayerNorm(width)
        self.proj: nn.Linear | Codebook = (
            Codebook(width, size, hidden_size) if (size := config.codebook_size) else nn.Linear(width, hidden_size)
        )
        self.audio_bos_eos_token = nn.Embedding(2, hidden_size) if config.add_bos_eos else None

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """[B, M, 2 T] to [B, R, L], T at most n_ctx. All windows are of one length, so that none sees padding."""
        return self.framed(self.proj(self.states(mel_BMT)))

    def states(self, mel_BMT: Tensor, num_positions_B: Tensor | None = None) -> Tensor:
        """What the projection is given: [B, R, D], without the rows around a window.

        With ``num_positions_B`` windows are padded: of so many positions of each, and zeros in ``mel_BMT`` behind them.
        What comes of the padding is for nobody.
        """
        x = functional.gelu(self.conv1(mel_BMT))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        sees_B11T = None
        if num_positions_B is not None:
            sees_B11T = torch.arange(x.shape[1], device=x.device) < num_positions_B[:, None, None, None]
        for block in self.blocks:
            x = block(x, sees_B11T)
        if self.avg_pool:
            x = functional.avg_pool1d(x.transpose(1, 2), kernel_size=2).transpose(
                1, 2
            )  # an odd last position is left out
        return self.ln_post(x)  # type: ignore[no-any-return]

    def num_rows(self, num_positions: int) -> int:
        """Rows that so many positions become, without those around a window."""
        return num_positions // 2 if self.avg_pool else num_positions

    def framed(self, rows_BRL: Tensor) -> Tensor:
        """Windows between their begin and end rows, [B, R + 2, L]; the same, if the tower has none."""
        if self.audio_bos_eos_token is None:
            return rows_BRL
        bos_eos_B2L = self.audio_bos_eos_token.weight.expand(len(rows_BRL), -1, -1)
        return torch.cat((bos_eos_B2L[:, :1], rows_BRL, bos_eos_B2L[:, 1:]), dim=1)


class Codebook(nn.Module):
    """A projection that mixes learned rows, so that it can give token embeddings and nothing between them."""

    def __init__(self, width: int, size: int, hidden_size: int) -> None:
        super().__init__()
        self.scores = nn.Linear(width, size)
        self.rows = nn.Linear(size, hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, T, L]."""
        shares = self.scores(x_BTD).float().softmax(-1)
        return self.rows(shares.to(x_BTD.dtype))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x_BTD: Tensor, sees_B11T: Tensor | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        x_BTD = x_BTD + self.attn(self.attn_ln(x_BTD), sees_B11T)
        return x_BTD + self.mlp(self.mlp_ln(x_BTD))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Every position attends to all that a mask shows. Keys have no bias: it would cancel in the softmax."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, sees_B11T: Tensor | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        q, k, v = (
            linear(x_BTD).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=sees_B11T)
        return self.out(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
