"""What the gateway is told."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """Environment variables TRICHORD_GATEWAY_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_GATEWAY_")

    vision: str = Field(description="gRPC target of the vision encoders, e.g. dns:///vision-encoder:50051.")
    audio: str = Field(description="gRPC target of the audio encoders.")
    decoder: str = Field(description="gRPC target of the decoders.")
    max_messages: int = Field(256, gt=0, description="Messages in one conversation.")
    max_parts: int = Field(512, gt=0, description="Parts in one conversation, all messages together.")
    media_store_bytes: int = Field(
        256 * 1024 * 1024, gt=0, description="Bytes of media kept by PutMedia, all tenants together."
    )
    hop_margin_s: float = Field(
        0.05, ge=0, description="Seconds kept back from a hop's deadline, so that its answer can still be passed on."
    )
