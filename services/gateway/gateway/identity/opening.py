"""A guard as settings say."""

from __future__ import annotations

import secrets
from pathlib import Path

from gateway.identity import last_used, private_file
from gateway.identity.audit import AuditLog
from gateway.identity.guard import Guard, OpenGuard
from gateway.identity.jwks import Jwks
from gateway.identity.key_ring import KeyRing
from gateway.identity.last_used import LastUsed
from gateway.identity.loopback import listens_on_loopback
from gateway.identity.oidc import TokenVerifier
from gateway.identity.settings import AuthSettings
from trichord.errors import SettingsError

MIN_SECRET_BYTES, MAX_SECRET_BYTES = 32, 1024


def open_guard(settings: AuthSettings, *listens: str) -> Guard:
    """The guard of a gateway that listens on ``listens`` (``host:port``).

    Raises SettingsError if a setting is missing, a file is not as it should be, or everyone would be let in from
    other machines without that being said.
    """
    secret, audit = _secret(settings.secret), AuditLog(settings.audit)
    if settings.mode == "off":
        _refuse_exposure(settings, listens)
        return OpenGuard(secret, audit, takes_any_host=settings.off_beyond_loopback)
    keys, tokens = settings.mode in ("keys", "both"), settings.mode in ("oidc", "both")
    return Guard(
        secret,
        audit,
        keys=KeyRing(settings.keys, settings.key_refresh_s) if keys else None,
        last_used=LastUsed(last_used.beside(settings.keys)) if keys else None,
        tokens=_verifier(settings) if tokens else None,
    )


def _refuse_exposure(settings: AuthSettings, listens: tuple[str, ...]) -> None:
    for listen in listens:
        if not (settings.off_beyond_loopback or listens_on_loopback(listen)):
            raise SettingsError(
                f"TRICHORD_AUTH_MODE is off and {listen} can be reached from other machines. Set the mode to keys, "
                "oidc or both; or listen on 127.0.0.1; or set TRICHORD_AUTH_OFF_BEYOND_LOOPBACK=true."
            )


def _verifier(settings: AuthSettings) -> TokenVerifier:
    return TokenVerifier(
        Jwks(_needed(settings, "oidc_jwks_url")),
        _needed(settings, "oidc_issuer"),
        _needed(settings, "oidc_audience"),
        tenant_claim=settings.oidc_tenant_claim,
        scope_claim=settings.oidc_scope_claim,
        scope_prefix=settings.oidc_scope_prefix,
    )


def _needed(settings: AuthSettings, name: str) -> str:
    value: str | None = getattr(settings, name)
    if value is None:
        raise SettingsError(f"TRICHORD_AUTH_{name.upper()} is not set; TRICHORD_AUTH_MODE={settings.mode} needs it.")
    return value


def _secret(file: Path | None) -> bytes:
    if file is None:
        return secrets.token_bytes(MIN_SECRET_BYTES)
    try:
        secret = private_file.read(file, MAX_SECRET_BYTES)
    except OSError as error:
        raise SettingsError(f"TRICHORD_AUTH_SECRET: {file} cannot be read: {error.strerror}.") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise SettingsError(f"TRICHORD_AUTH_SECRET: {file} has fewer than {MIN_SECRET_BYTES} bytes.")
    return secret
