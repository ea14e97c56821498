"""Who is let in, and who is not: by key, token or certificate, and what is written of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.identity.audit import AuditLog
from gateway.identity.guard import REFUSAL, Call, Guard, OpenGuard
from gateway.identity.jwks import Jwks
from gateway.identity.last_used import beside, load
from gateway.identity.oidc import TokenVerifier
from gateway.identity.principal import Principal, Scope
from tests.unit.gateway.identity.keys import (
    SECRET,
    bearer,
    guard_of,
    lines,
    new_certificate,
    new_key,
    now,
    revoke,
    showing,
)
from tests.unit.gateway.identity.provider import AUDIENCE, ISSUER, Provider, token
from trichord.errors import ForbiddenError, UnauthenticatedError, UnavailableError


def tokens_of(provider: Provider) -> TokenVerifier:
    named = {"tenant_claim": "tenant", "scope_claim": "scope", "scope_prefix": "trichord:"}
    return TokenVerifier(Jwks(provider.url), ISSUER, AUDIENCE, **named)


async def unauthenticated(guard: Guard, call: Call) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        await guard.admit(call, Scope.CHAT)
    assert caught.value.message == REFUSAL


async def test_a_key_is_its_tenant(file: Path, audit: Path) -> None:
    key = new_key(file, "acme", (Scope.CHAT, Scope.MEDIA))
    principal = await guard_of(file, audit).admit(showing(key), Scope.MEDIA)
    assert principal == Principal.of("acme", key.id, (Scope.CHAT, Scope.MEDIA), SECRET)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(file: Path, audit: Path, scheme: str) -> None:
    call = Call("m", f"{scheme} {new_key(file).text()}")
    assert (await guard_of(file, audit).admit(call, Scope.CHAT)).tenant == "acme"


async def test_whatever_is_wrong_sounds_the_same(file: Path, audit: Path) -> None:
    key, dead = new_key(file), new_key(file)
    revoke(file, dead.id)
    guard = guard_of(file, audit)
    text = key.text()
    shown = [
        None,
        "",
        " ",
        "Bearer",
        "Bearer ",
        text,
        f"Basic {text}",
        f"Bearer  {text}",
        f"Bearer {text} ",
        "Bearer x.y.z",
    ]
    for authorization in [*shown, bearer(dead), f"Bearer {text[:-1]}", f"Bearer {text}, Bearer {text}", "Bearer é\0"]:
        await unauthenticated(guard, Call("m", authorization))


async def test_a_key_without_the_scope_is_forbidden(file: Path, audit: Path) -> None:
    key = new_key(file)
    guard = guard_of(file, audit)
    for scope in (Scope.ADMIN, None):
        with pytest.raises(ForbiddenError):
            await guard.admit(showing(key), scope)


async def test_a_guard_of_nothing_lets_nobody_in(file: Path, audit: Path, provider: Provider) -> None:
    guard = Guard(SECRET, AuditLog(audit))
    names = (new_certificate(file, "batch"), "batch")
    for authorization in (None, bearer(new_key(file)), f"Bearer {token()}"):
        await unauthenticated(guard, Call("m", authorization, names))
    assert not await guard.takes_certificates()


async def test_keys_and_tokens_are_told_apart(file: Path, audit: Path, provider: Provider) -> None:
    key = new_key(file)
    both = guard_of(file, audit, tokens=tokens_of(provider))
    assert (await both.admit(showing(key), Scope.CHAT)).key_id == key.id
    assert (await both.admit(Call("m", f"Bearer {token()}"), Scope.CHAT)).key_id.startswith("oidc:")
    only_tokens = Guard(SECRET, AuditLog(audit), tokens=tokens_of(provider))
    await unauthenticated(only_tokens, showing(key))
    await unauthenticated(guard_of(file, audit), Call("m", f"Bearer {token()}"))


async def test_tenants_are_the_same_whichever_way_they_come(file: Path, audit: Path, provider: Provider) -> None:
    guard = guard_of(file, audit, tokens=tokens_of(provider))
    new_certificate(file, "batch")
    calls = [showing(new_key(file)), Call("m", f"Bearer {token()}"), Call("m", None, ("batch",))]
    assert len({(await guard.admit(call, Scope.CHAT)).cache_scope for call in calls}) == 1
    other = await guard.admit(showing(new_key(file, "other")), Scope.CHAT)
    assert other.cache_scope != (await guard.admit(calls[0], Scope.CHAT)).cache_scope


async def test_a_token_that_cannot_be_checked_now_is_not_the_callers_fault(audit: Path, provider: Provider) -> None:
    provider.status = 500
    guard = Guard(SECRET, AuditLog(audit), tokens=tokens_of(provider))
    with pytest.raises(UnavailableError):
        await guard.admit(Call("m", f"Bearer {token()}"), Scope.CHAT)
    assert lines(audit) == []


async def test_a_certificate_does_not_make_up_for_a_wrong_header(file: Path, audit: Path) -> None:
    record = new_certificate(file, "spiffe://acme/batch")
    guard, names = guard_of(file, audit), ("localhost", "spiffe://acme/batch")
    assert (await guard.admit(Call("m", None, names), Scope.CHAT)).key_id == record
    for authorization in ("", "Bearer ", "Bearer nonsense"):
        await unauthenticated(guard, Call("m", authorization, names))
    await unauthenticated(guard, Call("m", None, ("localhost",)))


async def test_the_day_of_the_last_use_is_kept(file: Path, audit: Path) -> None:
    key = new_key(file)
    guard = guard_of(file, audit)
    for _ in range(3):
        await guard.admit(showing(key), Scope.CHAT)
    assert load(beside(file)) == {key.id: now().date()}
    assert [(line["event"], line["actor"]) for line in lines(audit)] == [("first use of the day", key.id)]


async def test_without_auth_everyone_is_one_tenant(audit: Path) -> None:
    guard = OpenGuard(SECRET, AuditLog(audit))
    for scope in Scope:
        principal = await guard.admit(Call("m", "Bearer nonsense"), scope)
        assert (principal.tenant, principal.key_id) == ("anonymous", "anonymous")
    with pytest.raises(ForbiddenError):
        await guard.admit(Call("m"), None)


OWN = ("localhost", "localhost:7404", "127.0.0.1", "127.0.0.1:7404", "[::1]", "[::1]:7404", None)
STRANGE = (
    "",
    "evil.example",
    "evil.example:7404",
    "127.0.0.1.evil.example",
    "localhost.",
    "0.0.0.0:7404",
    "[::2]:1",
    ":",
)


@pytest.mark.parametrize("host", OWN)
async def test_without_auth_this_machines_own_names_are_taken(audit: Path, host: str | None) -> None:
    principal = await OpenGuard(SECRET, AuditLog(audit)).admit(Call("m", host=host), Scope.CHAT)
    assert principal.tenant == "anonymous"


@pytest.mark.parametrize("host", STRANGE)
async def test_without_auth_a_name_of_a_strangers_is_not(audit: Path, host: str) -> None:
    with pytest.raises(ForbiddenError):
        await OpenGuard(SECRET, AuditLog(audit)).admit(Call("m", host=host), Scope.CHAT)
    anywhere = OpenGuard(SECRET, AuditLog(audit), takes_any_host=True)
    assert (await anywhere.admit(Call("m", host=host), Scope.CHAT)).tenant == "anonymous"


# What is written


async def test_refusals_and_admin_calls_are_written(file: Path, audit: Path) -> None:
    key, admin = new_key(file), new_key(file, "ops", (Scope.ADMIN,))
    guard = guard_of(file, audit)
    for authorization, scope in (
        (None, Scope.CHAT),
        (f"{bearer(key)[:-50]}{'0' * 50}", Scope.CHAT),
        (bearer(key), Scope.ADMIN),
    ):
        with pytest.raises((UnauthenticatedError, ForbiddenError)):
            await guard.admit(Call("POST /v1/x", authorization, request_id="r-1"), scope)
    revoke(file, key.id)
    await unauthenticated(guard, showing(key))
    await guard.admit(Call("/grpc.x/Y", bearer(admin), request_id="r-2"), Scope.ADMIN)
    written = [
        (line["actor"], line["object"], line["result"], line["request_id"])
        for line in lines(audit)
        if line["event"] == "call"
    ]
    assert written == [
        ("-", "POST /v1/x", "UNAUTHENTICATED", "r-1"),
        ("-", "POST /v1/x", "UNAUTHENTICATED", "r-1"),
        (key.id, "POST /v1/x", "PERMISSION_DENIED", "r-1"),
        (key.id, "/service/Method", "UNAUTHENTICATED", ""),
        (admin.id, "/grpc.x/Y", "OK", "r-2"),
    ]


async def test_no_log_has_a_secret_or_a_tenants_name(file: Path, audit: Path, provider: Provider) -> None:
    """A canary in everything that a caller sends, right or wrong."""
    tenant = "CANARY-tenant"
    good, dead = new_key(file, tenant, (Scope.CHAT, Scope.ADMIN)), new_key(file, tenant)
    revoke(file, dead.id)
    signed, forged = token(tenant=tenant, sub="CANARY-sub"), token(tenant=tenant, aud="CANARY-aud", key_id="CANARY-kid")
    guard = guard_of(file, audit, tokens=tokens_of(provider))
    shown = [
        bearer(good),
        bearer(dead),
        f"{bearer(good)}CANARY",
        f"Bearer {signed}",
        f"Bearer {forged}",
        "CANARY",
        "Basic CANARY",
    ]
    with structlog.testing.capture_logs() as logs:
        for authorization in shown:
            for scope in (Scope.ADMIN, Scope.JOBS):
                await outcome(guard, Call("m", authorization, ("CANARY-name",)), scope)
    everything = audit.read_text() + repr(logs)  # noqa: ASYNC240
    assert len(lines(audit)) > 10
    assert good.id in everything
    for canary in ("CANARY", good.secret, dead.secret, signed, forged, *signed.split("."), SECRET.decode()):
        assert canary not in everything


async def outcome(guard: Guard, call: Call, scope: Scope) -> Any:
    try:
        return await guard.admit(call, scope)
    except (UnauthenticatedError, ForbiddenError) as error:
        return error
