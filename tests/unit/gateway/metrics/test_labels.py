"""Whatever clients send, labels have few values, and none of them is theirs."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics import chats
from tests.metrics_lab import Page
from tests.unit.gateway.lab import Lab, chat_request, image, text
from tests.unit.gateway.openai_http.http_lab import HttpLab
from trichord import errors
from trichord.telemetry import spans
from trichord.v1 import gateway_pb2, tensor_pb2

MARK = "canary"
ERRORS = [getattr(errors, name) for name in errors.__all__]
LABELS_OF_TENANTS = {"tenant", "user", "key", "principal", "model", "path", "url", "address", "request_id"}


NUM_STRANGERS = 20


async def test_nothing_of_a_clients_becomes_a_label(http: HttpLab, page: Page) -> None:
    before = series(page)
    for i in range(NUM_STRANGERS):
        name = f"{MARK}{i}"
        await asyncio.gather(
            http.lab.chat(chat_request(text(name), image(name.encode()), request_id=name)),
            *(call(http, name) for call in (wrong_model, wrong_key, wrong_path, wrong_method, wrong_model_on_http)),
        )
    assert MARK not in page.text()
    assert max((series(page) - before).values()) < NUM_STRANGERS / 2


def series(page: Page) -> Counter[str]:
    """How many there are of each name; a histogram's buckets are one."""
    return Counter(sample.name for sample in page.samples() if sample.labels.get("le", "+Inf") == "+Inf")


async def wrong_model(http: HttpLab, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await http.lab.chat(chat_request(text(), model=name))


async def wrong_model_on_http(http: HttpLab, name: str) -> None:
    assert (await http.complete(model=name)).status_code == 404


async def wrong_key(http: HttpLab, name: str) -> None:
    headers = {"authorization": f"Bearer {name}", "idempotency-key": name, "user-agent": name}
    assert (await http.complete(headers=headers)).status_code == 401


async def wrong_path(http: HttpLab, name: str) -> None:
    assert (await http.client.get(f"/{name}?{name}={name}")).status_code == 404


async def wrong_method(http: HttpLab, name: str) -> None:
    assert (await http.client.request(name.upper(), "/v1/models")).status_code == 405


async def test_every_tenant_is_in_the_same_series(http: HttpLab, page: Page) -> None:
    for i in range(3):
        await http.complete(headers={"authorization": f"Bearer key-of-{MARK}{i}"})
    assert page.gained("trichord_requests_total", face="http", outcome="ok", modalities="text") == 3
    assert MARK not in page.text()


async def test_no_label_is_named_after_a_client(lab: Lab, page: Page) -> None:
    await lab.ask(text(), image())
    named = {label for sample in page.samples() for label in sample.labels}
    assert not named & LABELS_OF_TENANTS


parts = st.builds(gateway_pb2.Part, text=st.text()) | st.builds(
    lambda modality, values: gateway_pb2.Part(embedding=tensor_pb2.Embedding(modality=modality, fingerprint=values)),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.text(),
)


@given(st.lists(st.builds(gateway_pb2.Message, parts=st.lists(parts, max_size=5), role=st.integers(0, 99)), max_size=5))
def test_modalities_are_one_of_four_whatever_is_sent(messages: list[gateway_pb2.Message]) -> None:
    request = gateway_pb2.ChatRequest(messages=messages)
    brought = chats.conversation.modalities(request)
    label = chats.modalities(brought)
    assert label in ("text", "text+image", "text+audio", "text+image+audio")
    sent = [part.embedding.modality for message in messages for part in message.parts]
    assert ("image" in label, "audio" in label) == (
        tensor_pb2.MODALITY_IMAGE in sent,
        tensor_pb2.MODALITY_AUDIO in sent,
    )


def test_a_request_of_a_million_parts_is_not_looked_through() -> None:
    message = gateway_pb2.Message(parts=[gateway_pb2.Part()] * 5000 + [image()])
    assert chats.conversation.modalities(gateway_pb2.ChatRequest(messages=[message])) == {0}


@pytest.mark.parametrize("error", [*ERRORS, ZeroDivisionError, asyncio.CancelledError, GeneratorExit, TimeoutError])
def test_every_error_is_one_outcome_and_one_type(error: type[BaseException]) -> None:
    raised = error(f"{MARK} message")
    assert chats.outcome(raised) in ("refused", "shed", "failed", "cancelled", "expired")
    assert spans.error_type(raised).isidentifier()
    assert MARK not in spans.error_type(raised)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.RequestError("x"), "refused"),
        (errors.MediaError("x"), "refused"),
        (errors.NotFoundError("x"), "refused"),
        (errors.QuotaError("x"), "refused"),
        (errors.OverloadedError("x"), "shed"),
        (errors.UnavailableError("x"), "failed"),
        (errors.InternalError("x"), "failed"),
        (errors.FingerprintError("x"), "failed"),
        (ZeroDivisionError(), "failed"),
        (errors.DeadlineError("x"), "expired"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (None, "ok"),
    ],
)
def test_outcomes_say_who_is_to_blame(error: BaseException | None, outcome: str) -> None:
    assert chats.outcome(error) == outcome
