"""Which failed calls both clients try again, when, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Retrying

from tests.unit.trichord_client.both import Client
from tests.unit.trichord_client.conftest import Gateway
from tests.unit.trichord_client.scripted import Abort
from trichord.client import RetryPolicy, image, user
from trichord.client.retries import Retries, least_delay_s
from trichord.errors import DeadlineError, MediaError, OverloadedError, QuotaError, TrichordError, UnavailableError
from trichord.status import to_status

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
AGAIN_NOW = ("grpc-retry-pushback-ms", "1")
NEVER = ("grpc-retry-pushback-ms", "-1")
LOST = Abort(UNAVAILABLE)
"""As a connection that broke: nobody knows what was done."""
REFUSED = (
    UnavailableError("No.", retry_after_s=0.001),
    OverloadedError("No.", retry_after_s=0.001),
    QuotaError("No.", retry_after_s=0.001),
    Abort(UNAVAILABLE, (AGAIN_NOW,)),
    Abort(EXHAUSTED, (AGAIN_NOW,)),
)
FINAL = (
    MediaError("No."),
    OverloadedError("No."),
    UnavailableError("No."),
    DeadlineError("No."),
    Abort(EXHAUSTED),
    Abort(UNAVAILABLE, (NEVER,)),
    Abort(UNAVAILABLE, (("grpc-retry-pushback-ms", "soon"),)),
    Abort(grpc.StatusCode.CANCELLED),
    Abort(grpc.StatusCode.INTERNAL),
    UnavailableError("No.", retry_after_s=3600),
)


async def ask(client: Client, method: str, **options: Any) -> Any:
    arguments = {"answer": [[user("hi")]], "put_media": [image(b"I")], "delete_media": ["media-1"]}.get(method, [])
    return await getattr(client, method)(*arguments, **options)


@pytest.mark.parametrize("failure", [*REFUSED, LOST], ids=str)
@pytest.mark.parametrize("method", ["answer", "model"])
async def test_what_may_be_repeated_is_tried_again(
    gateway: Gateway, client: Client, method: str, failure: Exception
) -> None:
    gateway.script.failures.extend([failure] * 2)
    await ask(client, method)
    assert len(gateway.script.seen) == 3


@pytest.mark.parametrize("failure", REFUSED, ids=str)
@pytest.mark.parametrize("method", ["put_media", "delete_media"])
async def test_what_was_refused_is_tried_again(
    gateway: Gateway, client: Client, method: str, failure: Exception
) -> None:
    gateway.script.failures.append(failure)
    await ask(client, method)
    assert len(gateway.script.seen) == 2


@pytest.mark.parametrize("method", ["put_media", "delete_media"])
async def test_what_may_have_been_done_is_not_done_again(gateway: Gateway, client: Client, method: str) -> None:
    gateway.script.failures.append(LOST)
    with pytest.raises(UnavailableError):
        await ask(client, method)
    assert len(gateway.script.seen) == 1


@pytest.mark.parametrize("failure", FINAL, ids=str)
@pytest.mark.parametrize("method", ["answer", "model", "put_media"])
async def test_what_will_not_succeed_is_not_tried_again(
    gateway: Gateway, client: Client, method: str, failure: Exception
) -> None:
    gateway.script.failures.append(failure)
    with pytest.raises(TrichordError):
        await ask(client, method)
    assert len(gateway.script.seen) == 1


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_attempts_are_bounded(gateway: Gateway, connect: Callable[..., Client], max_attempts: int) -> None:
    gateway.script.failures.extend([OverloadedError("Full.", retry_after_s=0.001)] * 9)
    client = connect(gateway.target, retries=RetryPolicy(max_attempts=max_attempts, jitter_s=0.001))
    with pytest.raises(OverloadedError, match="Full"):
        await client.model()
    assert len(gateway.script.seen) == max_attempts


async def test_the_deadline_is_not_outlasted(gateway: Gateway, connect: Callable[..., Client]) -> None:
    client = connect(gateway.target, retries=RetryPolicy(max_delay_s=1000))
    gateway.script.failures.append(OverloadedError("Full.", retry_after_s=60))
    with pytest.raises(OverloadedError):
        await client.model(timeout_s=20)
    assert len(gateway.script.seen) == 1


async def test_every_attempt_has_what_is_left_of_the_deadline(gateway: Gateway, client: Client) -> None:
    gateway.script.failures.append(OverloadedError("Full.", retry_after_s=0.5))
    await client.model(timeout_s=8)
    first, second = (seen.left_s for seen in gateway.script.seen)
    assert second < first - 0.25  # the wire rounds up


async def test_a_budget_bounds_the_retries_of_all_calls(gateway: Gateway, client: Client) -> None:
    gateway.script.failures.extend([OverloadedError("Full.", retry_after_s=0.001)] * 1000)
    for _ in range(30):
        with pytest.raises(OverloadedError):
            await client.model()
    assert 30 + 20 <= len(gateway.script.seen) < 30 * 4 - 20


def failed(code: grpc.StatusCode, *trailers: tuple[str, str | bytes], message: str = "") -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message)


def told(error: TrichordError) -> grpc.RpcError:
    """The error without pushback, as a server tells it that does not know of it."""
    return failed(error.code, *to_status(error).trailing_metadata, message=error.message)


@pytest.mark.parametrize(
    ("error", "delay_s"),
    [
        (told(UnavailableError("No.", retry_after_s=2)), 2),
        (told(OverloadedError("No.", retry_after_s=2)), 2),
        (told(OverloadedError("No.")), None),
        (failed(UNAVAILABLE, ("grpc-retry-pushback-ms", "1500")), 1.5),
        (failed(EXHAUSTED, ("grpc-retry-pushback-ms", b"1500")), 1.5),
        (failed(UNAVAILABLE), 0),
        (failed(EXHAUSTED), None),
        (failed(grpc.StatusCode.ABORTED), None),
        (ValueError("a bug"), None),
        (None, None),
    ],
)
def test_the_least_delay(error: BaseException | None, delay_s: float | None) -> None:
    assert least_delay_s(error, may_repeat=True) == delay_s


def waits_of(policy: RetryPolicy, told_s: float) -> list[float]:
    """What a client waits, one after the other, that is told to wait ``told_s`` each time."""
    waits: list[float] = []
    attempts = Retrying(**Retries(policy).of_call(1e9, may_repeat=True), sleep=waits.append)

    def fail() -> None:
        raise failed(UNAVAILABLE, ("grpc-retry-pushback-ms", str(round(told_s * 1000))))

    with pytest.raises(grpc.RpcError):
        attempts(fail)
    return waits


@given(st.floats(0, 9), st.floats(0.001, 1), st.integers(1, 6))
def test_waits_are_what_the_server_told_and_full_jitter(told_s: float, jitter_s: float, max_attempts: int) -> None:
    waits = waits_of(RetryPolicy(max_attempts, jitter_s), told_s)
    assert len(waits) == max_attempts - 1
    for number, wait_s in enumerate(waits):
        assert 0 <= wait_s - round(told_s * 1000) / 1000 + 1e-9 <= jitter_s * 2**number + 1e-6


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    assert waits_of(RetryPolicy(max_delay_s=3), told_s=3.1) == []
    assert len(waits_of(RetryPolicy(max_delay_s=3), told_s=2.9)) == 3


def test_jitter_spreads_clients() -> None:
    waits = [wait_s for _ in range(50) for wait_s in waits_of(RetryPolicy(max_attempts=2, jitter_s=1), told_s=0)]
    assert min(waits) < 0.4 < 0.6 < max(waits)
