"""Who is calling."""

from __future__ import annotations

import asyncio

import pytest

from gateway.identity.principal import Principal, Scope, acting, current_principal
from trichord.errors import ForbiddenError, InternalError


def of(tenant: str, secret: bytes = b"s" * 32, scopes: tuple[Scope, ...] = (Scope.CHAT,)) -> Principal:
    return Principal.of(tenant, "key", scopes, secret)


def test_a_cache_scope_is_its_tenants_and_its_deployments() -> None:
    scopes = [of("a").cache_scope, of("b").cache_scope, of("a", b"t" * 32).cache_scope]
    assert len(set(scopes)) == 3
    assert of("a").cache_scope == scopes[0]
    assert {len(scope) for scope in scopes} == {32}


def test_a_cache_scope_is_not_shown() -> None:
    principal = of("a")
    assert "cache_scope" not in repr(principal)
    assert principal.cache_scope.hex() not in repr(principal)


def test_no_scope_includes_another() -> None:
    for has in Scope:
        for needs in Scope:
            if has is needs:
                of("a", scopes=(has,)).require(needs)
            else:
                with pytest.raises(ForbiddenError, match=needs):
                    of("a", scopes=(has,)).require(needs)


def test_what_needs_no_known_scope_is_for_nobody() -> None:
    with pytest.raises(ForbiddenError):
        of("a", scopes=tuple(Scope)).require(None)


async def test_tasks_act_for_who_started_them_and_for_nobody_else() -> None:
    async def tell() -> str:
        await asyncio.sleep(0)
        return current_principal().tenant

    async def request(tenant: str) -> list[str]:
        with acting(of(tenant)):
            return await asyncio.gather(*(tell() for _ in range(3)))

    assert await asyncio.gather(request("a"), request("b")) == [["a"] * 3, ["b"] * 3]
    with pytest.raises(InternalError):
        current_principal()


def test_after_a_request_nobody_acts() -> None:
    with pytest.raises(ZeroDivisionError), acting(of("a")):
        raise ZeroDivisionError
    with pytest.raises(InternalError):
        current_principal()
