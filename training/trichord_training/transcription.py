"""Writing down what clips say, as a task: what the phases that learn to hear have in common.

Knows clips, noise and word errors, and no tower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audio_encoder.mel import LogMel
from trichord.errors import TrainingError
from trichord.media.windows import window_samples
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.clip_store import batch_of, make_clips
from trichord_training.clips import Clip
from trichord_training.device import device_of
from trichord_training.ears import Listener, Scribe, heard, transcription_loss
from trichord_training.optimizers import adamw
from trichord_training.recipe import Recipe
from trichord_training.sounds import heard_alone, heard_in_noise
from trichord_training.spoken_vocabulary import spoken_tokens, spoken_vocabulary
from trichord_training.word_errors import word_error_rate

NUM_VALIDATED = 100
PAUSE = " "
"""What stands where a sound says nothing: of all short tokens the language model minds it least between words."""

_NOISE_SEED = 1
_CONNECTOR = ("ears.proj", "ears.audio_bos_eos_token", "head.")


class Transcription:
    """Teaches ``module``, which a phase sets up, to transcribe."""

    module: Listener | Scribe

    def __init__(self, config: ModelConfig, base: Base, recipe: Recipe, clips: Path) -> None:
        self._recipe, self._tokenizer = recipe, base.tokenizer
        self._vocabulary = spoken_vocabulary(base.tokenizer)
        if config.audio.codebook_size not in (0, len(self._vocabulary) + 1):
            raise TrainingError(f"The preset's codebook must have {len(self._vocabulary) + 1} rows, or none.")
        self._pause_1D = base.embeddings(base.tokenizer.encode(PAUSE, add_special_tokens=False).ids[:1])
        self._index = {token: index for index, token in enumerate(self._vocabulary)}
        self._mel = LogMel(config.audio.n_mels, window_samples(config.audio))
        self._clips = make_clips(clips, recipe.seed, "train", recipe.clips)
        self._validation = make_clips(clips, recipe.seed, "validation", NUM_VALIDATED)[:NUM_VALIDATED]
        self._lengths = [len(clip.pcm) for clip in self._clips]

    def _teach(self, module: Listener | Scribe, device: torch.device) -> None:
        """Sets up the module and what moves it."""
        self.module = module.to(device)
        self.module.ears.positional_embedding.requires_grad_(False)
        named = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        connector = {name: value for name, value in named.items() if name.startswith(_CONNECTOR)}
        encoder = {name: value for name, value in named.items() if name not in connector}
        self.optimizers = [
            adamw(connector, self._recipe.learning_rate),
            adamw(encoder, self._recipe.encoder_learning_rate, weight_decay=0.01),
        ]

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """CTC's loss of a batch."""
        chosen = batch_of(self._lengths, self._recipe.batch_size, step, self._recipe.seed)
        clips = [self._clips[index] for index in chosen]
        mel = heard_in_noise(clips, self._mel, np.random.default_rng((self._recipe.seed, _NOISE_SEED, step)))
        return transcription_loss(self._logits(mel), [self._spoken(clip) for clip in clips], self.module.blank), {}

    @torch.inference_mode()
    def validate(self) -> Mapping[str, float]:
        """Word error rate on clips of the validation set, without noise."""
        pairs = [(clip.text, self._written(heard_alone(clip, self._mel))) for clip in self._validation]
        return {"wer": word_error_rate(pairs)}

    def _spoken(self, clip: Clip) -> Sequence[int]:
        """What a clip says, as indices among the logits."""
        return [self._index[token] for token in spoken_tokens(self._tokenizer, clip.text)]

    def _logits(self, mel: Tensor) -> Tensor:
        return self.module(mel.to(device_of(self.module)))  # type: ignore[no-any-return]

    def _written(self, mel: Tensor) -> str:
        tokens = heard(self._logits(mel)[0], self.module.blank)
        return self._tokenizer.decode([self._vocabulary[token] for token in tokens]).strip()
