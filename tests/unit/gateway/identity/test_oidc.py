"""Tokens of an identity provider, the good ones and every classic forgery, against its keys over real HTTP."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity.jwks import Jwks
from gateway.identity.oidc import MAX_TOKEN_CHARS, Identity, TokenVerifier
from gateway.identity.principal import Scope
from tests.unit.gateway.identity.provider import (
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    ISSUER,
    KEYS,
    OTHER_RSA_KEY,
    RSA_KEY,
    Provider,
    claims,
    key_set,
    pem,
    public,
    segment,
    token,
)
from trichord.errors import UnauthenticatedError


def verifier_of(provider: Provider, **settings: str) -> TokenVerifier:
    named = {"tenant_claim": "tenant", "scope_claim": "scope", "scope_prefix": "trichord:"} | settings
    return TokenVerifier(Jwks(provider.url), ISSUER, AUDIENCE, **named)


@pytest.fixture
def verifier(provider: Provider) -> TokenVerifier:
    return verifier_of(provider)


async def refused(verifier: TokenVerifier, text: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(text)
    assert caught.value.message == "The token is not good."


@pytest.mark.parametrize(
    ("key", "algorithm", "key_id"), [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")]
)
async def test_a_good_token_names_tenant_and_scopes(
    verifier: TokenVerifier, key: Any, algorithm: str, key_id: str
) -> None:
    identity = await verifier.verify(token(key, algorithm, key_id))
    subject = hashlib.sha256(f"{ISSUER}\0someone".encode()).hexdigest()[:16]
    assert identity == Identity("acme", f"oidc:{subject}", frozenset({Scope.CHAT, Scope.MEDIA}))


async def test_settings_name_the_claims(provider: Provider) -> None:
    verifier = verifier_of(provider, tenant_claim="org", scope_claim="roles", scope_prefix="")
    identity = await verifier.verify(token(org="other", roles=["jobs", "admins", 7, None]))
    assert (identity.tenant, identity.scopes) == ("other", {Scope.JOBS})


@pytest.mark.parametrize("scope", [None, "", "chat", 7, {"trichord:chat": 1}, "TRICHORD:CHAT", "trichord:chatx"])
async def test_what_is_no_scope_of_ours_allows_nothing(verifier: TokenVerifier, scope: Any) -> None:
    assert (await verifier.verify(token(scope=scope))).scopes == frozenset()


@pytest.mark.parametrize("tenant", [None, "", " ", 7, ["acme"], "a\nb", "x" * 129, "é"])
async def test_a_token_without_a_tenant_is_refused(verifier: TokenVerifier, tenant: Any) -> None:
    await refused(verifier, token(tenant=tenant))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 0},
    ],
)
async def test_a_wrong_claim_is_refused(verifier: TokenVerifier, change: dict[str, Any]) -> None:
    await refused(verifier, token(**change))


async def test_one_of_several_audiences_is_enough(verifier: TokenVerifier) -> None:
    assert (await verifier.verify(token(aud=["other", AUDIENCE]))).tenant == "acme"


@pytest.mark.parametrize(("name", "direction"), [("exp", 1), ("nbf", -1)])
async def test_a_clock_may_be_off_by_a_minute(verifier: TokenVerifier, name: str, direction: int) -> None:
    now = int(time.time())
    assert (await verifier.verify(token(**{name: now - direction * 30}))).tenant == "acme"
    await refused(verifier, token(**{name: now - direction * 90}))


# Forgeries


async def test_no_algorithm_is_none(verifier: TokenVerifier) -> None:
    for name in ("none", "None", "NONE", "nOnE", "", None, 0):
        unsigned = f"{segment({'alg': name, 'kid': 'rsa'})}.{segment(claims())}."
        await refused(verifier, unsigned)
        await refused(verifier, unsigned + token().rpartition(".")[2])


@pytest.mark.parametrize("digest", ["HS256", "HS384", "HS512"])
async def test_a_public_key_is_no_shared_secret(verifier: TokenVerifier, digest: str) -> None:
    """RFC 8725 section 2.1: HMAC with the RSA key that everyone can fetch."""
    signed = f"{segment({'alg': digest, 'kid': 'rsa'})}.{segment(claims())}"
    for secret in (pem(RSA_KEY), pem(RSA_KEY).strip(), KEYS):
        mac = hmac.digest(secret, signed.encode(), digest.replace("HS", "sha"))
        await refused(verifier, f"{signed}.{urlsafe_b64encode(mac).decode().rstrip('=')}")


async def test_a_shared_secret_among_the_keys_is_not_used(provider: Provider, verifier: TokenVerifier) -> None:
    secret = b"k" * 32
    entry = {"kty": "oct", "kid": "shared", "alg": "HS256", "k": urlsafe_b64encode(secret).decode().rstrip("=")}
    provider.content = key_set(entry, public(RSA_KEY, "rsa", "RS256"))
    await refused(verifier, token(secret, "HS256", "shared"))
    assert (await verifier.verify(token())).tenant == "acme"


async def test_another_key_and_another_algorithm_of_a_key_are_refused(verifier: TokenVerifier) -> None:
    await refused(verifier, token(OTHER_RSA_KEY))
    await refused(verifier, token(RSA_KEY, "RS256", "ec"))
    await refused(verifier, token(EC_KEY, "ES256", "rsa"))
    await refused(verifier, token(RSA_KEY, "PS256", "rsa"))
    await refused(verifier, token(RSA_KEY, "RS512", "rsa"))


@pytest.mark.parametrize("key_id", [None, "", "unknown", "../rsa", "RSA"])
async def test_an_unknown_key_id_is_refused(verifier: TokenVerifier, key_id: str | None) -> None:
    await refused(verifier, token(key_id=key_id))


async def test_a_key_id_that_is_no_text_is_refused(verifier: TokenVerifier) -> None:
    for key_id in (7, None, ["rsa"], {"kid": "rsa"}):
        await refused(verifier, f"{segment({'alg': 'RS256', 'kid': key_id})}.{segment(claims())}.AAAA")


async def test_keys_that_a_token_brings_are_not_looked_at(provider: Provider, verifier: TokenVerifier) -> None:
    own = public(OTHER_RSA_KEY, "rsa", "RS256")
    for more in ({"jwk": own}, {"jku": provider.url + "/mine"}, {"x5u": provider.url + "/mine"}, {"x5c": ["AAAA"]}):
        await refused(verifier, jwt.encode(claims(), OTHER_RSA_KEY, "RS256", headers={"kid": "rsa", **more}))
    assert provider.num_requests == 1


async def test_a_critical_header_that_nobody_knows_is_refused(verifier: TokenVerifier) -> None:
    """RFC 7515 section 4.1.11."""
    await refused(verifier, jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa", "crit": ["b65"], "b65": 1}))


async def test_a_short_key_is_not_used(provider: Provider, verifier: TokenVerifier) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    provider.content = key_set(public(weak, "weak", "RS256"))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signed = token(weak, key_id="weak")
    await refused(verifier, signed)


async def test_a_key_for_encryption_does_not_verify(provider: Provider, verifier: TokenVerifier) -> None:
    provider.content = key_set(public(RSA_KEY, "rsa", "RS256", use="enc"))
    await refused(verifier, token())


async def test_a_token_that_was_changed_is_refused(verifier: TokenVerifier) -> None:
    head, _, signature = token().split(".")
    await refused(verifier, f"{head}.{segment(claims(tenant='other'))}.{signature}")


async def test_a_long_token_is_refused_unread(provider: Provider, verifier: TokenVerifier) -> None:
    long = token(padding="x" * MAX_TOKEN_CHARS)
    await refused(verifier, long)
    assert provider.num_requests == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(text=st.text(max_size=60) | st.lists(st.text("AZaz09-_=.", max_size=20), max_size=5).map(".".join))
async def test_text_is_no_token(verifier: TokenVerifier, text: str) -> None:
    await refused(verifier, text)


@pytest.mark.parametrize("payload", [[], "x", 7, None, {"exp": 10**400}, {"iss": {}, "aud": {}, "sub": [], "exp": []}])
async def test_a_signed_payload_of_another_shape_is_refused(verifier: TokenVerifier, payload: Any) -> None:
    signing = f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment(payload)}"
    algorithm = jwt.algorithms.get_default_algorithms()["RS256"]
    signature = urlsafe_b64encode(algorithm.sign(signing.encode(), RSA_KEY)).decode().rstrip("=")
    await refused(verifier, f"{signing}.{signature}")
