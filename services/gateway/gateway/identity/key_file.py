"""The file of keys: one JSON document, which a Kubernetes Secret may hold as it is. It has digests, never a key.

::

    {"version": 1, "keys": [
      {"id": "k3v09x2mqa7d", "tenant": "acme", "scopes": ["chat", "media"],
       "created": "2026-11-01T09:00:00Z", "expires": "2027-11-01T09:00:00Z", "sha256": "<of the secret, hex>"},
      {"id": "p71mzc0w4e8b", "tenant": "acme", "scopes": ["encode"], ...,
       "certificate": "spiffe://acme.example/batch"}]}

A record is an API key or a name (subject alternative name) in client certificates. What an operator does to the file
is a function from one document to the next; ``edit`` applies it. Knows nothing of callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.identity import private_file
from gateway.identity.api_key import ID_PATTERN, ApiKey, new_id
from gateway.identity.principal import TENANT, Scope
from trichord.errors import NotFoundError, RequestError, SettingsError

MAX_FILE_BYTES = 1024 * 1024
"""As much as a Kubernetes Secret holds: over 3 000 keys."""

KEEP_EXPIRED = timedelta(days=90)
"""How long an expired key stays listed."""

Result = TypeVar("Result")


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class KeyRecord(_Strict):
    """What is kept of a key, or of a name in client certificates: exactly one of ``sha256`` and ``certificate``."""

    id: str = Field(pattern=f"^{ID_PATTERN}$")
    tenant: str = Field(pattern=f"^{TENANT.pattern}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: AwareDatetime
    expires: AwareDatetime
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    certificate: str | None = Field(None, min_length=1, max_length=1024)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.sha256 is None) == (self.certificate is None):
            raise ValueError("a record has either sha256 or certificate")
        return self


class KeyFile(_Strict):
    """The whole document."""

    version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_twins("id", (record.id for record in self.keys))
        _refuse_twins("certificate", (record.certificate for record in self.keys if record.certificate))
        return self

    def record(self, key_id: str) -> KeyRecord:
        """The record of that id. Raises NotFoundError."""
        for record in self.keys:
            if record.id == key_id:
                return record
        raise NotFoundError(f"There is no key {key_id}.")


def load(path: Path) -> KeyFile:
    """The document at ``path``. Raises SettingsError that says where it is wrong, and repeats nothing of it."""
    try:
        return KeyFile.model_validate_json(private_file.read(path, MAX_FILE_BYTES))
    except OSError as error:
        raise SettingsError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"The key file {path} is not one. {wrong}") from error


def edit(path: Path, change: Callable[[KeyFile], tuple[KeyFile, Result]], now: datetime) -> Result:
    """Replaces the document by what ``change`` makes of it, and returns its result; a first key makes the file.

    Forgets keys that have been expired for long. Raises SettingsError, or OSError where the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with private_file.locked(path):
        changed, result = change(load(path) if path.exists() else KeyFile())
        kept = tuple(record for record in changed.keys if now - record.expires < KEEP_EXPIRED)
        document = KeyFile(keys=kept).model_dump_json(indent=2, exclude_none=True) + "\n"
        if len(document) > MAX_FILE_BYTES:
            raise RequestError("The key file is full. Revoke keys, or give tenants fewer.")
        private_file.replace(path, document.encode())
    return result


def with_key(
    file: KeyFile, tenant: str, scopes: Iterable[Scope], now: datetime, life: timedelta
) -> tuple[KeyFile, ApiKey]:
    """The document with a new key for ``tenant``, and the key. Raises RequestError for a tenant of a strange name."""
    key = ApiKey.new()
    return _with(file, _record(key.id, tenant, scopes, now, life, sha256=key.sha256())), key


def with_certificate(
    file: KeyFile, tenant: str, scopes: Iterable[Scope], now: datetime, life: timedelta, name: str
) -> tuple[KeyFile, KeyRecord]:
    """The document that also takes client certificates with that subject alternative name, and the new record.

    Raises RequestError if another record that has not expired has the name.
    """
    if any(record.certificate == name and record.expires > now for record in file.keys):
        raise RequestError("That name has a record already. Revoke it first.", field="certificate")
    others = KeyFile(keys=tuple(record for record in file.keys if record.certificate != name))
    record = _record(new_id(), tenant, scopes, now, life, certificate=name)
    return _with(others, record), record


def rotated(file: KeyFile, key_id: str, now: datetime, overlap: timedelta) -> tuple[KeyFile, ApiKey]:
    """The document with a successor of a key, good for as long as the key was made for; the old one works on for
    ``overlap``. Returns the successor too. Raises NotFoundError, or RequestError for a key that has expired.
    """
    old = file.record(key_id)
    if old.certificate:
        raise RequestError("A name in certificates has no secret to rotate.")
    if old.expires <= now:
        raise RequestError(f"The key {key_id} has expired. Create a new one.")
    file, key = with_key(file, old.tenant, old.scopes, now, old.expires - old.created)
    return _expiring(file, old, min(old.expires, now + overlap)), key


def revoked(file: KeyFile, key_id: str, now: datetime) -> tuple[KeyFile, KeyRecord]:
    """The document in which a key has expired, and its record. Raises NotFoundError."""
    record = file.record(key_id)
    return _expiring(file, record, min(record.expires, now)), record


def _record(
    key_id: str, tenant: str, scopes: Iterable[Scope], now: datetime, life: timedelta, **shown: str
) -> KeyRecord:
    try:
        ordered = tuple(sorted(set(scopes)))
        return KeyRecord(id=key_id, tenant=tenant, scopes=ordered, created=now, expires=now + life, **shown)
    except ValidationError as error:
        wrong = ", ".join(str(e["loc"][0]) for e in error.errors(include_input=False))
        raise RequestError("It is empty, too long, or has characters that no name has.", field=wrong) from error


def _with(file: KeyFile, record: KeyRecord) -> KeyFile:
    return KeyFile(keys=(*file.keys, record))


def _expiring(file: KeyFile, record: KeyRecord, expires: datetime) -> KeyFile:
    ending = record.model_copy(update={"expires": expires})
    return KeyFile(keys=tuple(ending if each.id == record.id else each for each in file.keys))


def _refuse_twins(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two records have the same {what}")
        seen.add(name)
