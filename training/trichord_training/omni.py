"""The whole model as training runs it: media through their towers into the prompt that the decoder would build.

The prompt is the decoder's own, so that training and serving cannot differ in it. Knows no lessons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from audio_encoder.tower import AudioTower
from llm_decoder.conversation import Image, Message, Sound
from llm_decoder.prompt import PromptTemplate
from llm_decoder.vocabulary import Vocabulary
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.device import device_of, in_bfloat16
from trichord_training.eyes import Eyes
from trichord_training.language_model import LanguageModel

NOT_TAUGHT = -100


@dataclass(frozen=True)
class Batch:
    """Conversations of one message with the answers to learn, and the media in the order of their mention."""

    messages: list[tuple[str | Image | Sound, ...]]
    answers: list[str]
    patches: Tensor | None
    """[pictures, L, 3 * patch * patch], all of ``grid``."""
    grid: tuple[int, int]
    mel: Tensor | None
    """[clips, M, 2 T]."""


class Omni(nn.Module):
    """Towers, connectors and language model."""

    def __init__(self, config: ModelConfig, base: Base) -> None:
        super().__init__()
        vocabulary = Vocabulary.read(base.directory, config.llm.vocab_size)
        self._encode = vocabulary.encode
        self._template = PromptTemplate(config.prompt, vocabulary)
        self.eyes = Eyes(config)
        self.ears = AudioTower(config.audio, config.llm.hidden_size)
        # The positions are never trained, and the connectors never the base's.
        whisper = {name: value for name, value in base.tensors("audio.audio.").items() if not name.startswith("proj.")}
        self.ears.load_state_dict(whisper, strict=False)
        self.llm = LanguageModel(config.llm, base)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits float32 [n, V] at the n places of all answers, the tokens [n] of them, and whose they are [n]."""
        device = device_of(self)
        ids, taught = zip(*map(self._tokens, batch.messages, batch.answers), strict=True)
        lengths = torch.tensor([len(row) for row in ids], device=device)
        padded = _padded(ids, 0).to(device)
        embeddings = self._with_media(self.llm.embed(padded), self._places(batch.messages), batch)
        states = self.llm.states(embeddings, lengths)[:, :-1]
        targets = _padded(taught, NOT_TAUGHT).to(device)[:, 1:]
        learns = targets != NOT_TAUGHT
        return self.llm.scores(states[learns]), targets[learns], learns.nonzero()[:, 0]

    def prompt(self, parts: Sequence[str | Image | Sound]) -> list[int]:
        """The tokens of a conversation of one message, up to where the answer begins."""
        return [int(token) for token in self._template.tokens([Message("user", tuple(parts))]).ids]

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy a token of the answers, and which answers [B] a greedy decoder would give word for word."""
        logits, targets, whose = self(batch)
        is_wrong = (logits.argmax(-1) != targets).float()
        wrong = torch.zeros(len(batch.answers), device=is_wrong.device).index_add(0, whose, is_wrong)
        return functional.cross_entropy(logits, targets), wrong == 0

    def _tokens(self, parts: Sequence[str | Image | Sound], answer: str) -> tuple[list[int], list[int]]:
        """A conversation with its answer, and what of it is taught: the answer and the end of its turn."""
        prompt = self.prompt(parts)
        said = [*self._encode(answer), self._template.stop_ids[0]]
        return prompt + said, [NOT_TAUGHT] * len(prompt) + said

    def _places(self, messages: Sequence[tuple[str | Image | Sound, ...]]) -> list[tuple[int, int, int, bool]]:
        """Where each medium's rows go: (row of the batch, first position, length, whether it is a picture)."""
        places = []
        for row, parts in enumerate(messages):
            media = [part for part in parts if not isinstance(part, str)]
            spans = self._template.tokens([Message("user", parts)]).spans
            places += [
                (row, span.start, span.length, isinstance(medium, Image))
                for medium, span in zip(media, spans, strict=True)
            ]
        return places

    def _with_media(self, embeddings: Tensor, places: Sequence[tuple[int, int, int, bool]], batch: Batch) -> Tensor:
        device = embeddings.device
        with in_bfloat16(device):
            pictures = [] if batch.patches is None else list(self.eyes(batch.patches.to(device), batch.grid))
            sounds = [] if batch.mel is None else list(self.ears(batch.mel.to(device)))
        seen, heard = iter(pictures), iter(sounds)
        rows = [next(seen if is_picture else heard).to(embeddings.dtype) for *_, is_picture in places]
        if not rows:
            return embeddings
        row_index = torch.cat([torch.full((length,), row) for row, _, length, _ in places])
        col_index = torch.cat([torch.arange(start, start + length) for _, start, length, _ in places])
        return embeddings.index_put((row_index.to(device), col_index.to(device)), torch.cat(rows))


def _padded(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    """int64 [rows, longest], filled up on the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=padding)
