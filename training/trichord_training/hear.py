"""Audio's first phase as a task: clips in noise, written down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from trichord_training.base import Base
from trichord_training.clip_store import batch_of, make_clips
from trichord_training.ears import Listener, heard, transcription_loss
from trichord_training.optimizers import adamw
from trichord_training.recipe import Recipe
from trichord_training.sounds import heard_alone, heard_in_noise
from trichord_training.spoken_vocabulary import spoken_tokens, spoken_vocabulary
from trichord_training.word_errors import word_error_rate

from audio_encoder.mel import LogMel
from trichord.media.windows import window_samples
from trichord.model_config import ModelConfig

NUM_VALIDATED = 100
TENSORS_FILE = "tensors.safetensors"
_NOISE_SEED = 1
_CONNECTOR = ("ears.proj", "ears.audio_bos_eos_token", "head.")


class Hear:
    """Teaches the audio tower and its projection to transcribe."""

    def __init__(self, config: ModelConfig, base: Base, recipe: Recipe, clips: Path) -> None:
        self._recipe, self._tokenizer = recipe, base.tokenizer
        self._vocabulary = spoken_vocabulary(base.tokenizer)
        self._index = {token: index for index, token in enumerate(self._vocabulary)}
        self._mel = LogMel(config.audio.n_mels, window_samples(config.audio))
        self._clips = make_clips(clips, recipe.seed, "train", recipe.clips)
        self._validation = make_clips(clips, recipe.seed, "validation", NUM_VALIDATED)[:NUM_VALIDATED]
        self._lengths = [len(clip.pcm) for clip in self._clips]
        torch.manual_seed(recipe.seed)
        self.module = Listener(config, base.embeddings(self._vocabulary))
        self._begin(base.tensors("audio.audio."))
        named = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        connector = {name: value for name, value in named.items() if name.startswith(_CONNECTOR)}
        encoder = {name: value for name, value in named.items() if name not in connector}
        self.optimizers = [
            adamw(connector, recipe.learning_rate), adamw(encoder, recipe.encoder_learning_rate, weight_decay=0.01)
        ]  # fmt: skip

    def _begin(self, tensors: Mapping[str, Tensor]) -> None:
        """Whisper's encoder, and a projection whose rows all start close to the middle of the embeddings."""
        tower = self.module.ears
        tower.load_state_dict(tensors)
        tower.positional_embedding.requires_grad_(False)
        nn.init.normal_(tower.proj.weight, std=0.05 * tower.proj.in_features**-0.5)
        with torch.no_grad():
            tower.proj.bias.copy_(self.module.head.learned[0])

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """CTC's loss of a batch."""
        chosen = batch_of(self._lengths, self._recipe.batch_size, step, self._recipe.seed)
        clips = [self._clips[index] for index in chosen]
        mel = heard_in_noise(clips, self._mel, np.random.default_rng((self._recipe.seed, _NOISE_SEED, step)))
        spoken = [[self._index[token] for token in spoken_tokens(self._tokenizer, clip.text)] for clip in clips]
        return transcription_loss(self._logits(mel), spoken, self.module.blank), {}

    @torch.inference_mode()
    def validate(self) -> Mapping[str, float]:
        """Word error rate on clips of the validation set, without noise."""
        pairs = [(clip.text, self._written(heard_alone(clip, self._mel))) for clip in self._validation]
        return {"wer": word_error_rate(pairs)}

    def export(self, directory: Path) -> None:
        """Writes the tower's and the projection's tensors."""
        tensors = {f"audio.audio.{name}": value for name, value in self.module.ears.state_dict().items()}
        stored = {name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}
        save_file(stored, directory / TENSORS_FILE)

    def _logits(self, mel: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            rows = self.module.ears(mel)[:, 1:-1]
        return self.module.head(rows)  # type: ignore[no-any-return]

    def _written(self, mel: Tensor) -> str:
        tokens = heard(self._logits(mel)[0], self.module.blank)
        return self._tokenizer.decode([self._vocabulary[token] for token in tokens]).strip()
