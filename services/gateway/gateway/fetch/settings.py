"""What fetching is told by its environment (``TRICHORD_FETCH_*``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from trichord.settings import Settings

Host = Annotated[
    str,
    StringConstraints(pattern=r"^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9](:[0-9]{1,5})?$"),
]


class FetchSettings(Settings):
    """Which URLs are fetched, and at what cost."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_FETCH_")

    hosts: Annotated[tuple[Host, ...], NoDecode] = Field(
        (),
        description="Host names (comma-separated; host, host:port or *.domain) to fetch from; none: URLs are refused.",
    )
    allow_http: bool = Field(False, description="Fetch http URLs too: anyone on the way can read and change them.")
    max_bytes: int = Field(20 * 1024 * 1024, gt=0, description="Largest file in bytes.")
    max_redirects: int = Field(0, ge=0, le=3, description="Redirects to follow, each checked like the first URL.")
    max_concurrent: int = Field(
        8, ge=1, le=256, description="Files fetched at once, max_bytes of memory each; more wait."
    )
    timeout_s: float = Field(10.0, gt=0, le=300, description="Longest that one file may take, in seconds.")
    idle_timeout_s: float = Field(3.0, gt=0, le=300, description="Longest wait for a connection or for more bytes.")

    @field_validator("hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, value.lower().split(","))) if isinstance(value, str) else value
