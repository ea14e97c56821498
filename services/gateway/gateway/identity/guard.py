"""The one place where a call is let in or refused, whichever way it came.

Knows nothing of gRPC or HTTP: both hand over what the caller shows.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gateway.identity.api_key import PREFIX, ApiKey
from gateway.identity.audit import NOBODY, AuditLog
from gateway.identity.key_file import KeyRecord
from gateway.identity.key_ring import KeyRing, utc_now
from gateway.identity.last_used import LastUsed
from gateway.identity.loopback import is_loopback, without_port
from gateway.identity.oidc import TokenVerifier
from gateway.identity.principal import TENANT, Principal, Scope
from trichord.errors import ForbiddenError, UnauthenticatedError
from trichord.jobs import layout
from trichord.jobs.on_behalf import JOB_HEADER, TENANT_HEADER, OnBehalf

REFUSAL = "The key or token is missing, wrong, expired or revoked. Send 'authorization: Bearer <key>'."
"""All that a caller learns, whichever it is."""

ANONYMOUS = "anonymous"


class Call(NamedTuple):
    """What is known of a call before it is let in."""

    target: str
    """A gRPC method's path, or an HTTP method and route."""
    authorization: str | None = None
    """The header; None if there is none. An empty one is a wrong one."""
    certificate_names: tuple[str, ...] = ()
    """Subject alternative names of the client's certificate, which TLS has verified."""
    request_id: str = ""
    host: str | None = None
    """What an HTTP caller believes this gateway to be called, with or without a port; None by gRPC."""
    on_behalf: OnBehalf | None = None
    """Whom the caller says to ask for; None: itself."""


class Guard:
    """Lets in who shows an API key, a token or a certificate that is known; all may be None, and nobody gets in."""

    def __init__(
        self,
        secret: bytes,
        audit: AuditLog,
        *,
        keys: KeyRing | None = None,
        last_used: LastUsed | None = None,
        tokens: TokenVerifier | None = None,
    ) -> None:
        self._secret, self._audit = secret, audit
        self._keys, self._last_used, self._tokens = keys, last_used, tokens

    async def takes_certificates(self) -> bool:
        """Whether a call without a header may still be let in by its certificate."""
        return self._keys is not None and (await self._keys.keys()).has_certificates

    async def admit(self, call: Call, scope: Scope | None) -> Principal:
        """Who calls, if they may do what needs ``scope``. ``scope`` None refuses everyone.

        Raises UnauthenticatedError, ForbiddenError, or UnavailableError if a token cannot be checked now.
        """
        actor, tenant = _claimed(call), ""
        try:
            principal = await self._authenticate(call)
            actor, tenant = principal.key_id, principal.tenant
            if call.on_behalf is not None:
                principal = self._on_behalf(principal, call.on_behalf)
            principal.require(scope)
        except (UnauthenticatedError, ForbiddenError) as error:
            result = error.code.name
            self._audit.refused("call", call.target, result, actor=actor, tenant=tenant, request_id=call.request_id)
            raise
        if scope is Scope.ADMIN:
            self._audit.record("call", call.target, "OK", actor=actor, tenant=tenant, request_id=call.request_id)
        return principal

    def _on_behalf(self, worker: Principal, told: OnBehalf) -> Principal:
        """The tenant whose job a worker does. It may chat, and nothing else."""
        if Scope.WORK not in worker.scopes:
            raise ForbiddenError(f"{TENANT_HEADER} and {JOB_HEADER} need a key with the scope '{Scope.WORK}'.")
        if not (TENANT.fullmatch(told.tenant) and layout.is_job_id(told.job_id)):
            raise ForbiddenError(f"Send one {TENANT_HEADER} and one {JOB_HEADER}, a tenant and the id of its job.")
        return Principal.of(told.tenant, worker.key_id, [Scope.CHAT], self._secret, told.job_id)

    async def _authenticate(self, call: Call) -> Principal:
        """By the header if there is one, however wrong: a certificate does not make up for it."""
        if call.authorization is None:
            return await self._of_certificate(call.certificate_names)
        scheme, _, token = call.authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError(REFUSAL)
        return await (self._of_key(token) if token.startswith(PREFIX) else self._of_token(token))

    async def _of_key(self, token: str) -> Principal:
        key, now = ApiKey.parse(token), utc_now()
        record = (await self._keys.keys()).of_key(key, now) if key and self._keys else None
        return await self._of_record(record, now)

    async def _of_certificate(self, names: tuple[str, ...]) -> Principal:
        now = utc_now()
        record = (await self._keys.keys()).of_certificate(names, now) if names and self._keys else None
        return await self._of_record(record, now)

    async def _of_record(self, record: KeyRecord | None, now: datetime) -> Principal:
        if record is None:
            raise UnauthenticatedError(REFUSAL)
        if self._last_used and await self._last_used.note(record.id, now.date()):
            self._audit.record("first use of the day", "key", "OK", actor=record.id, tenant=record.tenant)
        return Principal.of(record.tenant, record.id, record.scopes, self._secret)

    async def _of_token(self, token: str) -> Principal:
        if self._tokens is None:
            raise UnauthenticatedError(REFUSAL)
        try:
            identity = await self._tokens.verify(token)
        except UnauthenticatedError as error:
            raise UnauthenticatedError(REFUSAL) from error
        return Principal.of(identity.tenant, identity.actor, identity.scopes, self._secret)


class OpenGuard(Guard):
    """Lets everyone in as one tenant who may do everything that may be done: for a trial on loopback.

    Unless ``takes_any_host``, a browser that came by another name than this machine's own is refused: a stranger's page
    can have its name resolve to 127.0.0.1, and is of the same origin then (DNS rebinding).
    """

    def __init__(self, secret: bytes, audit: AuditLog, *, takes_any_host: bool = False) -> None:
        super().__init__(secret, audit)
        self._takes_any_host = takes_any_host

    async def _authenticate(self, call: Call) -> Principal:
        if not (self._takes_any_host or call.host is None or is_loopback(without_port(call.host))):
            raise ForbiddenError("This gateway asks nobody for a key, and answers to localhost and 127.0.0.1 only.")
        return Principal.of(ANONYMOUS, ANONYMOUS, list(Scope), self._secret)


def _claimed(call: Call) -> str:
    """The id of the key that a caller says to have: nothing but an id's characters gets into a log."""
    key = ApiKey.parse((call.authorization or "").partition(" ")[2])
    return key.id if key else NOBODY
