"""What the audio front is told by its environment (``TRICHORD_AUDIO_*``)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from audio_encoder.pcm import SoundLimits
from trichord.settings import FrontSettings


class AudioSettings(FrontSettings):
    """Settings of ``python -m audio_encoder``."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_AUDIO_")

    max_audio_bytes: int = Field(25 * 1024 * 1024, gt=0, description="Largest sound file in bytes: 2 min of CD audio.")
    max_audio_seconds: float = Field(
        120.0, ge=0.03, le=3600, description="Longest sound in seconds; the default fills 3 008 tokens of a context."
    )
    max_decoded_bytes: int = Field(
        128 * 1024 * 1024, gt=0, description="Most float32 bytes a sound may decode to, all its channels together."
    )
    decode_workers: int = Field(2, ge=1, le=64, description="Sounds decoded at once; more wait.")

    @property
    def limits(self) -> SoundLimits:
        """What one sound may cost."""
        return SoundLimits(self.max_audio_bytes, self.max_audio_seconds, self.max_decoded_bytes)
