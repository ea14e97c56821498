"""What the process that keeps traces is told."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings

MIB = 1024 * 1024


class TracesSettings(Settings):
    """Environment variables TRICHORD_TRACES_*. It listens on loopback, and nowhere else: it asks nobody for a key."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_TRACES_")

    port: int = Field(0, ge=0, lt=1 << 16, description="Port on loopback; 0 takes a free one.")
    max_traces: int = Field(500, gt=0, description="Traces kept; the oldest go first.")
    max_spans: int = Field(50_000, gt=0, description="Spans kept, all traces together.")
    max_bytes: int = Field(64 * MIB, gt=0, description="Bytes that the spans may take, about, all traces together.")
