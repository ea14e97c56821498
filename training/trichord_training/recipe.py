"""A run's settings, from a YAML file of ``training/configs``. Knows no model and no data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from trichord import strict_yaml
from trichord.errors import TrainingError

Phase = Literal["see", "hear", "settle", "connect", "encode", "tune"]

CONVERSING: tuple[Phase, ...] = ("connect", "encode", "tune")
"""Phases with the language model in the loop."""

Medium = Literal["pictures", "sounds"]


class Recipe(BaseModel):
    """What one phase trains, on how many samples, and how fast."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    phase: Phase
    preset: str = Field("demo", description="Whose config the model has.")
    seed: int = Field(0, ge=0)
    steps: int = Field(gt=0, le=10_000_000)
    batch_size: int = Field(gt=0, le=4096)
    learning_rate: float = Field(gt=0, le=1, description="Of connectors, norms and embeddings, by AdamW.")
    encoder_learning_rate: float = Field(0.0, ge=0, le=1, description="Of the encoders' matrices; 0 leaves them be.")
    llm_learning_rate: float = Field(0.0, ge=0, le=1, description="Of the language model's deltas; 0 leaves it be.")
    warmup_steps: int = Field(50, ge=0)
    decay_share: float = Field(0.35, gt=0, le=1, description="Of the steps, the last: there the rates sink to nothing.")
    save_every: int = Field(200, gt=0, description="Steps between two states, which are validated as well.")
    replay_every: int = Field(3, gt=0, description="Steps between two that replay text, which take half as long again.")
    drift_weight: float = Field(1.0, ge=0, description="Of what replayed text has drifted, in the loss of such a step.")
    media: list[Medium] = Field(["pictures", "sounds"], min_length=1, description="What the answers are about.")
    sounds: int = Field(
        0,
        ge=0,
        validate_default=True,
        description="Of a batch's conversations, those about sounds; all others are about pictures.",
    )
    clips: int = Field(
        0, ge=0, validate_default=True, description="Recordings to learn from, made before the first step."
    )

    @field_validator("clips")
    @classmethod
    def _enough_for_a_batch(cls, clips: int, info: ValidationInfo) -> int:
        if info.data.get("phase", "see") != "see" and clips < info.data.get("batch_size", 0):
            raise ValueError("at least a batch of recordings is needed")
        return clips

    @field_validator("sounds")
    @classmethod
    def _talks_about_the_media(cls, sounds: int, info: ValidationInfo) -> int:
        told = info.data
        if told.get("phase") in CONVERSING and {"batch_size", "media"} <= told.keys():
            counts = {"sounds": sounds, "pictures": told["batch_size"] - sounds}
            if {medium for medium, count in counts.items() if count} != set(told["media"]) or min(counts.values()) < 0:
                raise ValueError(f"a batch about {counts} does not fit the media {told['media']}")
        return sounds

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Reads a file. Raises TrainingError, saying which key is wrong, and SettingsError if it is not YAML."""
        try:
            return cls.model_validate(strict_yaml.read(path, "the recipe"))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise TrainingError(f"{path.name}: {key}: {first['msg']}") from error

    def rate(self, step: int) -> float:
        """Share of its learning rates that a step takes: up in a line, level, and down in a line."""
        rising = (step + 1) / max(1, self.warmup_steps)
        falling = (self.steps - step) / (self.decay_share * self.steps)
        return min(1.0, rising, falling)
