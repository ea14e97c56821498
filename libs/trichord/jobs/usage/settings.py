"""Where usage events wait for the queue."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.home import home
from trichord.settings import Settings


def default_spool() -> Path:
    """Where they wait unless told otherwise: ``$TRICHORD_HOME/usage``."""
    return home() / "usage"


class UsageSettings(Settings):
    """Environment variables TRICHORD_USAGE_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_USAGE_")

    spool: Path = Field(
        default_factory=default_spool,
        description="Directory, of this process alone, where usage events wait for the queue; on a disk that outlives "
        "the process, or what waits when it dies is lost.",
    )
    spool_bytes: int = Field(
        64 * 1024 * 1024,
        ge=65_536,
        description="Most bytes that they may take there, about 300 for each; then new ones are dropped and counted.",
    )
