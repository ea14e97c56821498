"""Access tokens of an identity provider: signed JWTs (RFC 7519) by the practices of RFC 8725.

The key is found by the token's ``kid`` among the provider's own; whatever else a header offers (``jku``, ``x5u``,
``jwk``) is not looked at. Knows nothing of calls.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import jwt

from gateway.identity.jwks import ALGORITHMS, Jwks
from gateway.identity.principal import TENANT, Scope
from trichord.errors import UnauthenticatedError

MAX_TOKEN_CHARS = 8192
"""Half of what gRPC takes of metadata."""
LEEWAY_S = 60
"""How far the provider's clock may be off."""


class Identity(NamedTuple):
    """What a token says of its bearer."""

    tenant: str
    actor: str
    """A digest of issuer and subject: tells bearers apart in logs without naming them."""
    scopes: frozenset[Scope]


class TokenVerifier:
    """Tokens of ``issuer`` for ``audience``; ``tenant_claim`` and ``scope_claim`` name where they say who may do what.

    The scope claim is a list or words with spaces between (RFC 8693 section 4.2); ``scope_prefix`` before a scope's
    name makes it ours, and anything else in it is not.
    """

    def __init__(
        self, jwks: Jwks, issuer: str, audience: str, *, tenant_claim: str, scope_claim: str, scope_prefix: str
    ) -> None:
        self._jwks, self._issuer, self._audience = jwks, issuer, audience
        self._tenant_claim, self._scope_claim, self._scope_prefix = tenant_claim, scope_claim, scope_prefix

    async def verify(self, token: str) -> Identity:
        """Raises UnauthenticatedError for a token that is not good, UnavailableError if that cannot be told now."""
        try:
            return self._identity(self._claims(token, await self._jwks.key(_key_id(token))))
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise UnauthenticatedError("The token is not good.") from error

    def _claims(self, token: str, key: jwt.PyJWK | None) -> dict[str, Any]:
        if key is None:
            raise ValueError("no such key")
        return jwt.decode(
            token,
            key,  # bound to its own algorithm, whatever the header says
            algorithms=ALGORITHMS,
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
        )

    def _identity(self, claims: dict[str, Any]) -> Identity:
        tenant = claims.get(self._tenant_claim)
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
            raise ValueError("no tenant")
        subject = hashlib.sha256(f"{claims['iss']}\0{claims['sub']}".encode()).hexdigest()[:16]
        return Identity(tenant, f"oidc:{subject}", self._scopes(claims.get(self._scope_claim)))

    def _scopes(self, claim: object) -> frozenset[Scope]:
        words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
        return frozenset(scope for scope in Scope if f"{self._scope_prefix}{scope}" in words)


def _key_id(token: str) -> str:
    if len(token) > MAX_TOKEN_CHARS:
        raise ValueError("too long")
    key_id = jwt.get_unverified_header(token).get("kid")
    if not isinstance(key_id, str):
        raise ValueError("no kid")
    return key_id
