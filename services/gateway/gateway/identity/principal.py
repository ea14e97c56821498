"""Who is calling: a tenant, the key they showed, and what it allows.

Knows nothing of keys, tokens or certificates.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from trichord.errors import ForbiddenError, InternalError

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@|/-]{0,127}")
"""What a tenant may be called, as operators and identity providers name them."""


class Scope(StrEnum):
    """One thing that a key may allow. None includes another."""

    CHAT = "chat"
    MEDIA = "media"
    ENCODE = "encode"
    JOBS = "jobs"
    WORK = "work"
    """To ask on behalf of any tenant, for its jobs: the job-worker's."""
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who is let in."""

    tenant: str
    key_id: str
    """Names what the caller showed; may be logged."""
    scopes: frozenset[Scope]
    cache_scope: bytes = field(repr=False)
    """32 secret bytes, one value for each tenant: what its entries in every cache are keyed with."""
    job_id: str = ""
    """The tenant's job that a worker asks for on its behalf; empty: the tenant itself asks."""

    @classmethod
    def of(cls, tenant: str, key_id: str, scopes: Collection[Scope], secret: bytes, job_id: str = "") -> Self:
        """A caller; ``secret`` is the deployment's own, so that no client can work out a cache scope."""
        cache_scope = hmac.digest(secret, b"cache scope\0" + tenant.encode(), "sha256")
        return cls(tenant, key_id, frozenset(scopes), cache_scope, job_id)

    def require(self, scope: Scope | None) -> None:
        """Raises ForbiddenError unless the caller has ``scope``; None is what nobody has."""
        if scope is None:
            raise ForbiddenError("This may not be called.")
        if scope not in self.scopes:
            raise ForbiddenError(f"This needs a key with the scope '{scope}'. Ask the operator for one.")


_current: ContextVar[Principal | None] = ContextVar("principal", default=None)


def current_principal() -> Principal:
    """Who this request is for. Raises InternalError outside of one.

    Take it at the start of a handler: a generator that its caller left may be closed by another task, which must
    not be asked who it works for.
    """
    principal = _current.get()
    if principal is None:
        raise InternalError("Nobody is known to be calling here.")
    return principal


@contextlib.contextmanager
def acting(principal: Principal) -> Iterator[None]:
    """What runs inside is for ``principal``, and so are the tasks that it starts."""
    _current.set(principal)
    try:
        yield
    finally:
        _current.set(None)  # not a token's reset: a generator may be closed in another context
