"""What the gateway is told about encoders that sleep."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings


class WakingSettings(Settings):
    """Environment variables TRICHORD_WAKING_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_WAKING_")

    autoscaled: bool = Field(
        False,
        description="An autoscaler listens: tell it the demand, and hold media whose encoder has no replica. "
        "Off, an encoder without replicas is unavailable.",
    )
    max_held: int = Field(64, ge=0, le=100_000, description="Media held for one encoder at once; more are refused.")
    max_held_bytes: int = Field(
        256 * 1024 * 1024, ge=0, description="Bytes of media held at once, all encoders together: they are in memory."
    )
    startup_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds that an encoder takes to wake, as long as none was seen to."
    )
    notice_interval_s: float = Field(
        2.0, gt=0, le=60, description="Seconds between two notices to a client that waits: proxies cut silent streams."
    )
    publish_interval_s: float = Field(
        1.0, gt=0, le=5, description="Seconds between two reports of the demand; what is not repeated for 10 s is gone."
    )
