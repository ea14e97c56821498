"""Who may ask on behalf of a tenant, and what they may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.audit import AuditLog
from gateway.identity.guard import Call, OpenGuard
from gateway.identity.principal import Principal, Scope
from gateway.identity.scopes import SCOPE_OF_METHOD
from tests.unit.gateway.identity.keys import SECRET, bearer, guard_of, lines, new_certificate, new_key, showing
from tests.unit.gateway.identity.test_interceptor import CHAT, PUT, SOON_S, door_of
from trichord.errors import ForbiddenError, UnauthenticatedError
from trichord.jobs import on_behalf
from trichord.jobs.on_behalf import JOB_HEADER, TENANT_HEADER, OnBehalf
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

JOB = "job_" + "0a" * 16
ACME = OnBehalf("acme", JOB)


async def test_a_worker_is_the_tenant_it_asks_for(file: Path, audit: Path) -> None:
    key = new_key(file, "ops", [Scope.WORK])
    guard = guard_of(file, audit)
    principal = await guard.admit(showing(key)._replace(on_behalf=ACME), Scope.CHAT)
    assert principal == Principal.of("acme", key.id, [Scope.CHAT], SECRET, JOB)
    own = await guard.admit(showing(new_key(file, "acme")), Scope.CHAT)
    assert (own.cache_scope, own.job_id) == (principal.cache_scope, "")


async def test_so_is_one_with_a_certificate(file: Path, audit: Path) -> None:
    record = new_certificate(file, "spiffe://trichord/job-worker", "ops", [Scope.WORK])
    call = Call("m", None, ("spiffe://trichord/job-worker",), on_behalf=ACME)
    principal = await guard_of(file, audit).admit(call, Scope.CHAT)
    assert (principal.tenant, principal.key_id, principal.job_id) == ("acme", record, JOB)


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.CHAT])
async def test_it_may_do_nothing_for_it_but_chat(file: Path, audit: Path, scope: Scope) -> None:
    key = new_key(file, "ops", list(Scope))
    with pytest.raises(ForbiddenError):
        await guard_of(file, audit).admit(showing(key)._replace(on_behalf=ACME), scope)


async def test_without_saying_for_whom_it_may_do_nothing(file: Path, audit: Path) -> None:
    key = new_key(file, "ops", [Scope.WORK])
    for scope in {*SCOPE_OF_METHOD.values()}:
        with pytest.raises(ForbiddenError):
            await guard_of(file, audit).admit(showing(key), scope)


async def test_everyone_elses_word_is_refused_even_for_themselves(file: Path, audit: Path) -> None:
    key = new_key(file, "acme", [scope for scope in Scope if scope is not Scope.WORK])
    with pytest.raises(ForbiddenError, match="need a key with the scope 'work'"):
        await guard_of(file, audit).admit(showing(key)._replace(on_behalf=ACME), Scope.CHAT)
    [refusal] = [line for line in lines(audit) if line["event"] == "call"]
    assert (refusal["actor"], refusal["result"]) == (key.id, "PERMISSION_DENIED")
    with pytest.raises(UnauthenticatedError):
        await guard_of(file, audit).admit(Call("m", None, on_behalf=ACME), Scope.CHAT)


WRONG = [
    OnBehalf("", JOB),
    OnBehalf("acme", ""),
    OnBehalf("", ""),
    OnBehalf("acme", "job_1"),
    OnBehalf("acme", f"{JOB}\n"),
    OnBehalf("acme", JOB.upper()),
    OnBehalf(" acme", JOB),
    OnBehalf("../acme", JOB),
    OnBehalf("a" * 129, JOB),
]


@pytest.mark.parametrize("told", WRONG)
async def test_a_worker_says_exactly_for_whom(file: Path, audit: Path, told: OnBehalf) -> None:
    key = new_key(file, "ops", [Scope.WORK])
    with pytest.raises(ForbiddenError, match="a tenant and the id of its job"):
        await guard_of(file, audit).admit(showing(key)._replace(on_behalf=told), Scope.CHAT)


async def test_without_auth_a_workers_word_counts(audit: Path) -> None:
    principal = await OpenGuard(SECRET, AuditLog(audit)).admit(Call("m", on_behalf=ACME), Scope.CHAT)
    assert (principal.tenant, principal.scopes, principal.job_id) == ("acme", {Scope.CHAT}, JOB)
    with pytest.raises(ForbiddenError):
        await OpenGuard(SECRET, AuditLog(audit)).admit(Call("m", host="evil.example", on_behalf=ACME), Scope.CHAT)


def test_headers_are_read_as_they_are_written() -> None:
    assert on_behalf.read([("x-other", "1"), *ACME.metadata()]) == ACME
    assert on_behalf.read([("x-other", "1"), ("x-trichord-tenants", "acme")]) is None


@given(st.lists(st.tuples(st.sampled_from([TENANT_HEADER, JOB_HEADER]), st.sampled_from(["a", b"a", ""])), max_size=4))
def test_any_of_the_headers_is_a_claim_and_two_of_one_say_nothing(headers: list[tuple[str, str | bytes]]) -> None:
    told = on_behalf.read(headers)
    assert (told is None) == (not headers)
    if told:
        for name, value in zip((TENANT_HEADER, JOB_HEADER), told, strict=True):
            values = [given for header, given in headers if header == name]
            assert value == ("a" if values == ["a"] else "")


async def test_over_grpc_the_handler_acts_for_the_tenant(file: Path, audit: Path) -> None:
    metadata = [("authorization", bearer(new_key(file, "ops", [Scope.WORK]))), *ACME.metadata()]
    async with door_of(guard_of(file, audit)) as door:
        stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
        chat = stub.Chat(gateway_pb2.ChatRequest(), metadata=metadata, timeout=SOON_S)
        assert {answer.token.text async for answer in chat} == {"acme"}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=metadata, timeout=SOON_S)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", [CHAT, PUT])
async def test_over_grpc_a_strangers_word_and_a_doubled_one_are_refused(file: Path, audit: Path, method: str) -> None:
    other = ("authorization", bearer(new_key(file, "other", [Scope.CHAT, Scope.MEDIA])))
    worker = ("authorization", bearer(new_key(file, "ops", [Scope.WORK, Scope.MEDIA])))
    told: list[tuple[Any, ...]] = [
        (other, *ACME.metadata()),
        (other, (TENANT_HEADER, "acme")),
        (other, (JOB_HEADER, JOB)),
    ]
    told += [(worker, *ACME.metadata(), extra) for extra in ACME.metadata()]
    async with door_of(guard_of(file, audit)) as door:
        for metadata in told:
            answers = door.channel.unary_stream(method)(b"", metadata=metadata, timeout=SOON_S)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(answers))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert door.servicer.num_calls == 0
