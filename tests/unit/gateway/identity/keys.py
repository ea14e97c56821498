"""Key files and guards as tests need them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.identity import key_file
from gateway.identity.api_key import ApiKey
from gateway.identity.audit import AuditLog
from gateway.identity.guard import Call, Guard
from gateway.identity.key_ring import KeyRing
from gateway.identity.last_used import LastUsed, beside
from gateway.identity.principal import Scope

SECRET = b"s" * 32
DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


def new_key(file: Path, tenant: str = "acme", scopes: Iterable[Scope] = (Scope.CHAT,), life: timedelta = DAY) -> ApiKey:
    """A key that is in the file."""
    return key_file.edit(file, lambda keys: key_file.with_key(keys, tenant, scopes, now(), life), now())


def new_certificate(file: Path, name: str, tenant: str = "acme", scopes: Iterable[Scope] = (Scope.CHAT,)) -> str:
    """The id of a record of that name."""
    make = key_file.with_certificate
    return key_file.edit(file, lambda keys: make(keys, tenant, scopes, now(), DAY, name), now()).id


def revoke(file: Path, key_id: str) -> None:
    key_file.edit(file, lambda keys: key_file.revoked(keys, key_id, now()), now())


def guard_of(file: Path, audit: Path, **parts: Any) -> Guard:
    """A guard that looks at the key file before every call."""
    return Guard(SECRET, AuditLog(audit), keys=KeyRing(file, 0.0), last_used=LastUsed(beside(file)), **parts)


def bearer(key: ApiKey) -> str:
    return f"Bearer {key.text()}"


def showing(key: ApiKey) -> Call:
    return Call("/service/Method", bearer(key))


def lines(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []
