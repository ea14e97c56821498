"""The phases with the language model in the loop (arXiv 2502.15803, section 4.3): it answers questions about media.

``connect`` trains the connectors alone, ``encode`` the encoders too, ``tune`` also low-rank deltas of the language
model, whose text is held where it was by replay. Knows no drawing and no speaking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW

from audio_encoder.mel import LogMel
from llm_decoder.conversation import Image, Sound
from trichord.errors import TrainingError
from trichord.media.windows import window_samples
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.clip_store import batch_of, make_clips
from trichord_training.clips import Clip
from trichord_training.examples import Example, Lesson, Teacher
from trichord_training.eyes import as_patches, picture_grids
from trichord_training.omni import Batch, Omni
from trichord_training.optimizers import adamw
from trichord_training.pictures import Difficulty, Thing, draw
from trichord_training.recipe import Medium, Recipe
from trichord_training.replay import PROMPTS, drift, replay_texts
from trichord_training.run_state import tensors_of
from trichord_training.sounds import heard_in_noise
from trichord_training.splits import Split

LESSONS: Mapping[Medium, tuple[Lesson, ...]] = {
    "pictures": ("picture", "picture", "picture", "picture", "picture", "picture", "picture", "pictures"),
    "sounds": ("sound", "sound", "sound", "sound", "question", "picture_question"),
}
"""What is asked about each medium, over and over."""

BLIND: tuple[Lesson, ...] = ("blind", "blind")
"""A batch for the language model alone: it shall not see what is not there."""

REPLAYED = 2
VALIDATION_ROUNDS = 12
TENSORS_FILE = "tensors.safetensors"
_CONNECTORS = ("eyes.resampler.", "ears.proj.", "ears.audio_bos_eos_token.")
_TOWERS: Mapping[Medium, str] = {"pictures": "eyes.", "sounds": "ears."}
_NEVER = ("ears.positional_embedding", "eyes.vpm.embeddings.position_embedding")


class Converse:
    """Teaches the model to answer."""

    def __init__(
        self,
        config: ModelConfig,
        base: Base,
        recipe: Recipe,
        clips: Path,
        begin_with: Sequence[Path],
        device: torch.device,
    ) -> None:
        self._config, self._recipe = config, recipe
        self._grids = picture_grids(config)
        self._towers = tuple(_TOWERS[medium] for medium in recipe.media)
        self._mel = LogMel(config.audio.n_mels, window_samples(config.audio))
        self._clips = make_clips(clips, recipe.seed, "train", recipe.clips)
        self._lengths = [len(clip.pcm) for clip in self._clips]
        self._teachers: dict[Split, Teacher] = {
            "train": Teacher(self._clips, "train"),
            "validation": Teacher(make_clips(clips, recipe.seed, "validation", 1), "validation"),
        }
        torch.manual_seed(recipe.seed)
        self.module = Omni(config, base).to(device)
        self._begin(begin_with)
        self.optimizers = self._optimizers()
        self._replayed = self._replay_texts(clips.parent) if recipe.llm_learning_rate else []

    def _begin(self, directories: Sequence[Path]) -> None:
        """Takes over what earlier runs learnt, the later ones last. Raises TrainingError if a tower has none."""
        begun: dict[str, Tensor] = {}
        for directory in directories:
            begun |= tensors_of(directory)
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if name in begun:
                    parameter.copy_(begun[name])
                elif name.startswith(self._towers) and not name.startswith(_NEVER):
                    raise TrainingError(f"Nothing to begin {name} with. Name the runs of the phases before this one.")

    def _optimizers(self) -> list[AdamW]:
        """One for the connectors, the encoders and the deltas each, if the recipe trains them; the rest is frozen."""
        named = dict(self.module.named_parameters())
        for parameter in named.values():
            parameter.requires_grad_(False)
        chosen = {name: value for name, value in named.items() if name.startswith(self._towers)}
        connectors = {name: value for name, value in chosen.items() if name.startswith(_CONNECTORS)}
        encoders = {
            name: value for name, value in chosen.items() if name not in connectors and not name.startswith(_NEVER)
        }
        deltas = {name: value for name, value in named.items() if ".lora_" in name}
        rates = self._recipe.learning_rate, self._recipe.encoder_learning_rate, self._recipe.llm_learning_rate
        trained = [(part, rate) for part, rate in zip((connectors, encoders, deltas), rates, strict=True) if rate]
        for part, _ in trained:
            for parameter in part.values():
                parameter.requires_grad_(True)
        return [adamw(part, rate) for part, rate in trained]

    def _replay_texts(self, directory: Path) -> list[list[int]]:
        prompts = [self.module.prompt([text]) for text in PROMPTS]
        return replay_texts(self.module.llm, prompts, directory / "replay.json")

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """Cross entropy of the answers, and how far the text has drifted."""
        rng = np.random.default_rng((self._recipe.seed, 2, step))
        batches = self._lessons(step)
        losses: list[Tensor] = []
        figures: dict[str, float] = {}
        replays = bool(self._replayed) and step % self._recipe.replay_every == 0
        for lessons in [*batches, BLIND] if replays else batches:
            batch = self._batch("train", lessons, rng, self._to_repeat(lessons, step))
            loss, right = self.module.loss(batch)
            losses.append(loss)
            figures |= _shares(lessons, right)
        if replays:
            chosen = rng.choice(len(self._replayed), REPLAYED, replace=False)
            drifted = drift(self.module.llm, [self._replayed[index] for index in chosen])
            losses.append(self._recipe.drift_weight * drifted)
            figures["drift"] = drifted.item()
        return torch.stack(losses).sum(), figures

    @torch.inference_mode()
    def validate(self) -> Mapping[str, float]:
        """Shares of answers that a greedy decoder would give word for word."""
        found: dict[str, list[float]] = {}
        for round_ in range(VALIDATION_ROUNDS):
            rng = np.random.default_rng((self._recipe.seed, 3, round_))
            asked = [LESSONS[medium] for medium in self._recipe.media]
            for lessons in [*asked, BLIND] if self._replayed else asked:
                _, right = self.module.loss(self._batch("validation", lessons, rng, [None] * len(lessons)))
                for lesson, share in zip(lessons, right.tolist(), strict=True):
                    found.setdefault(lesson, []).append(float(share))
        return {lesson: sum(shares) / len(shares) for lesson, shares in found.items()}

    def export(self, directory: Path) -> None:
        """Writes the towers of the recipe's media, their connectors, and the deltas if there are any."""
        tensors: dict[str, Tensor] = {}
        if "pictures" in self._recipe.media:
            tensors |= self.module.eyes.tensors()
        if "sounds" in self._recipe.media:
            tensors |= {f"audio.audio.{name}": value for name, value in self.module.ears.state_dict().items()}
        if self._recipe.llm_learning_rate:
            tensors |= self.module.llm.delta_tensors()
        stored = {name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}
        save_file(stored, directory / TENSORS_FILE)

    def _lessons(self, step: int) -> list[Sequence[Lesson]]:
        """What a step asks about each medium: it goes on where the step before stopped."""
        counts = {"sounds": self._recipe.sounds, "pictures": self._recipe.batch_size - self._recipe.sounds}
        return [
            [LESSONS[medium][place % len(LESSONS[medium])] for place in range(step * count, (step + 1) * count)]
            for medium in self._recipe.media
            if (count := counts[medium])
        ]

    def _to_repeat(self, lessons: Sequence[Lesson], step: int) -> list[Clip]:
        """Recordings of about one length, one for each that is to be repeated."""
        count = lessons.count("sound")
        return (
            [self._clips[index] for index in batch_of(self._lengths, count, step, self._recipe.seed)] if count else []
        )

    def _batch(
        self, split: Split, lessons: Sequence[Lesson], rng: np.random.Generator, clips: Sequence[Clip | None]
    ) -> Batch:
        to_repeat = iter(clips)
        examples = [
            self._teachers[split].example(lesson, rng, next(to_repeat) if lesson == "sound" else None)
            for lesson in lessons
        ]
        grid = self._grids[int(rng.integers(len(self._grids)))]
        things = [part for example in examples for part in example.parts if isinstance(part, Thing)]
        sounds = [part for example in examples for part in example.parts if isinstance(part, Clip)]
        mel = heard_in_noise(sounds, self._mel, rng) if sounds else None
        return Batch(
            messages=[self._parts(example, mel) for example in examples],
            answers=[example.answer for example in examples],
            patches=self._patches(things, rng, split, grid) if things else None,
            grid=grid,
            mel=mel,
        )

    def _patches(
        self, things: Sequence[Thing], rng: np.random.Generator, split: Split, grid: tuple[int, int]
    ) -> Tensor:
        patch = self._config.vision.patch_size
        size = grid[1] * patch, grid[0] * patch
        return as_patches(np.stack([draw(thing, rng, split, size, Difficulty()) for thing in things]), patch)

    def _parts(self, example: Example, mel: Tensor | None) -> tuple[str | Image | Sound, ...]:
        image = Image(0, 0, self._config.resampler.num_queries)
        rows = 0 if mel is None else mel.shape[2] // 4 + 2
        return tuple(
            part if isinstance(part, str) else image if isinstance(part, Thing) else Sound((rows,))
            for part in example.parts
        )


def _shares(lessons: Sequence[Lesson], right: Tensor) -> dict[str, float]:
    shares = {
        lesson: [r for name, r in zip(lessons, right.tolist(), strict=True) if name == lesson] for lesson in lessons
    }
    return {lesson: sum(values) / len(values) for lesson, values in shares.items()}
