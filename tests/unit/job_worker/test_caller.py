"""One item's call: for whom it is made, what comes back whole, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from job_worker.caller import Asked, GatewayCaller
from tests.conftest import free_ports
from tests.gateway_lab import MODEL, StubGateway, failing, finished, forever, running_gateway
from tests.unit.job_worker.worker_lab import settings_for
from trichord.client import user
from trichord.errors import DeadlineError, MediaError, QuotaError, SettingsError, UnavailableError
from trichord.jobs.on_behalf import OnBehalf
from trichord.tls import TlsSettings
from trichord.v1 import decoder_pb2, gateway_pb2


def asked(text: str = "hello", n: int = 0) -> Asked:
    sampling = decoder_pb2.SamplingParams(n=n) if n else None
    request = gateway_pb2.ChatRequest(request_id="theirs", messages=[user(text)], sampling=sampling)
    return Asked(OnBehalf("acme", "job_1"), "job_1-7", request)


@pytest.fixture
async def caller(gateway: StubGateway) -> AsyncIterator[GatewayCaller]:
    caller = GatewayCaller(settings_for(gateway.target, key=SecretStr("tri-key\n")), TlsSettings())
    yield caller
    await caller.close()


async def test_the_call_says_for_whom_it_is_and_gives_way_to_live_requests(
    gateway: StubGateway, caller: GatewayCaller
) -> None:
    mine = asked()
    await caller.answer(mine, 10)
    (call,) = gateway.calls
    assert (call.headers["x-trichord-tenant"], call.headers["x-trichord-job"]) == ("acme", "job_1")
    assert (call.headers["authorization"], call.headers["x-request-id"]) == ("Bearer tri-key", "job_1-7")
    assert (call.request.request_id, call.request.priority) == ("job_1-7", decoder_pb2.PRIORITY_BATCH)
    assert (mine.request.request_id, mine.request.priority) == ("theirs", decoder_pb2.PRIORITY_UNSPECIFIED)


async def test_the_answer_is_whole(caller: GatewayCaller) -> None:
    answer = await caller.answer(asked("hello"), 10)
    assert (answer.texts, answer.model, answer.finished) == (["olleh"], MODEL, finished("hello"))


async def test_each_of_several_answers_has_its_text(caller: GatewayCaller) -> None:
    assert (await caller.answer(asked("abc", n=3), 10)).texts == ["cba"] * 3
    assert (await caller.answer(asked("", n=2), 10)).texts == ["", ""]


@pytest.mark.parametrize(
    "error",
    [MediaError("No image.", field="messages[0].parts[0].image_bytes"), QuotaError("Spent.", retry_after_s=3.0)],
)
async def test_the_gateways_error_comes_back(
    gateway: StubGateway, caller: GatewayCaller, error: MediaError | QuotaError
) -> None:
    gateway.behave = failing(error)
    with pytest.raises(type(error)) as raised:
        await caller.answer(asked(), 10)
    assert (raised.value.message, raised.value.field) == (error.message, error.field)
    assert raised.value.retry_after_s == error.retry_after_s


async def test_an_answer_without_an_end_is_none(gateway: StubGateway, caller: GatewayCaller) -> None:
    gateway.breaks_off = True
    with pytest.raises(UnavailableError, match="ended the answer early"):
        await caller.answer(asked(), 10)


async def test_who_is_not_answered_in_time_goes_on(gateway: StubGateway, caller: GatewayCaller) -> None:
    gateway.behave = forever
    with pytest.raises(DeadlineError):
        await caller.answer(asked(), 0.2)
    async with asyncio.timeout(10):
        while gateway.running:  # noqa: ASYNC110 - the server notices in its own time
            await asyncio.sleep(0.01)
    assert gateway.most_running == 1


async def test_a_gateway_that_comes_late_is_waited_for() -> None:
    port = free_ports(1)
    caller = GatewayCaller(settings_for(f"127.0.0.1:{port}"), TlsSettings())
    try:
        with pytest.raises(DeadlineError, match="away until"):
            await caller.reached(0.3)
        waiting = asyncio.create_task(caller.reached(30))
        await asyncio.sleep(0)
        assert not waiting.done()
        async with running_gateway(f"127.0.0.1:{port}"):
            await waiting
            assert (await caller.answer(asked(), 10)).texts == ["olleh"]
    finally:
        await caller.close()


async def test_a_key_that_no_header_can_hold_stops_the_worker_at_its_start() -> None:
    with pytest.raises(SettingsError, match="printable"):
        GatewayCaller(settings_for("127.0.0.1:1", key=SecretStr("schlüssel")), TlsSettings())
