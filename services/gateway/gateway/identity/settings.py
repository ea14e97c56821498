"""Which callers a gateway takes, and what it checks them against."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from gateway.identity.loopback import is_loopback
from trichord.home import home
from trichord.settings import Settings

KEY_FILE = "keys.json"


def default_key_file() -> Path:
    """Where keys are unless told otherwise: ``$TRICHORD_HOME/keys.json``."""
    return home() / KEY_FILE


class AuthSettings(Settings):
    """Environment variables TRICHORD_AUTH_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_AUTH_")

    mode: Literal["off", "keys", "oidc", "both"] = Field(
        "off", description="Who is let in: everyone as tenant 'anonymous' (a trial on loopback), or who shows what."
    )
    off_beyond_loopback: bool = Field(
        False, description="Serve with mode off where other machines reach it: something in front must check callers."
    )
    keys: Path = Field(
        default_factory=default_key_file,
        description="File of API keys and certificate names, which `trichord keys` edits; may be mounted read-only.",
    )
    key_refresh_s: float = Field(
        2.0, gt=0, le=60, description="Seconds until a change of the key file counts: how long a revoked key works."
    )
    secret: Path | None = Field(
        None,
        description="File of 32 to 1024 random bytes, the same for all gateways: derives each tenant's cache scope. "
        "Unset: made at start, so that caches are shared with no other gateway and begin empty.",
    )
    audit: Path | None = Field(None, description="File to append the audit log to; unset: stderr.")
    oidc_issuer: str | None = Field(None, min_length=1, description="The iss of tokens, exactly.")
    oidc_audience: str | None = Field(None, min_length=1, description="The aud that tokens must have.")
    oidc_jwks_url: str | None = Field(None, description="https address of the issuer's keys; http on loopback only.")
    oidc_tenant_claim: str = Field("tenant", min_length=1, description="Claim that names the tenant.")
    oidc_scope_claim: str = Field("scope", min_length=1, description="Claim that lists scopes.")
    oidc_scope_prefix: str = Field("trichord:", description="What stands before a scope's name in that claim.")

    @field_validator("oidc_jwks_url")
    @classmethod
    def _is_private_to_us(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://unset")
        if not parts.hostname or parts.username:
            raise ValueError("an address with a host and without a user")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError("an https address; http only on loopback")
        return url
