"""Settings of the decoder's front.

Knows nothing of the model inside Triton, which has settings of its own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from trichord.settings import FrontSettings

Fingerprint = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class DecoderSettings(FrontSettings):
    """What the decoder's front is told; environment variables TRICHORD_DECODER_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_DECODER_")

    accept_fingerprints: Annotated[tuple[Fingerprint, ...], NoDecode] = Field(
        (),
        description="Fingerprints (comma-separated) of embeddings to accept besides those of this checkpoint's towers.",
    )
    max_images: int = Field(16, ge=0, description="Most images in one request.")
    max_audios: int = Field(4, ge=0, description="Most sounds in one request.")
    max_text_bytes: int = Field(
        1024 * 1024, gt=0, description="Most bytes of text in one request: what takes about a second to tokenize."
    )

    @field_validator("accept_fingerprints", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value
