"""What the gateway is told."""

from __future__ import annotations

from pydantic import Field, SecretStr
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
    cache_url: SecretStr = Field(
        description="Redis for embeddings, redis://, rediss:// or unix://; give it maxmemory and allkeys-lru."
    )
    state_url: SecretStr = Field(
        description="Another Redis, for handles and budgets, with noeviction. All gateways of a deployment share both."
    )
    store_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="The same for all gateways: names in both are not guessed, nor records forged, without it. "
        "Unset: made at start, so that nothing is shared with another gateway or outlives this one.",
    )
    embedding_ttl_s: float = Field(
        24 * 3600.0, gt=0, description="Seconds that an embedding is kept, memory permitting."
    )
    max_embedding_bytes: int = Field(
        4 * 1024 * 1024, gt=0, description="Largest embedding kept, in bytes: what Redis hands over in time."
    )
    media_store_bytes: int = Field(
        256 * 1024 * 1024, gt=0, description="Bytes of media kept by PutMedia, all tenants together."
    )
    media_tenant_bytes: int = Field(
        128 * 1024 * 1024, gt=0, description="Bytes of media kept by PutMedia for a tenant."
    )
    hop_margin_s: float = Field(
        0.05, ge=0, description="Seconds kept back from a hop's deadline, so that its answer can still be passed on."
    )
