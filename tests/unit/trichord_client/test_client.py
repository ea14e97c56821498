"""Both clients against a real server with a scripted gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.unit.trichord_client.both import Client
from tests.unit.trichord_client.conftest import Gateway
from trichord.client import OmniClient, SyncOmniClient, image, system, user
from trichord.errors import MediaError, NotFoundError, RequestError, SettingsError, UnavailableError
from trichord.v1 import decoder_pb2

SOON_S = 20


async def test_an_answer_streams_its_events(gateway: Gateway, client: Client) -> None:
    messages = [system("s"), user("one", "two")]
    events = await client.chat(messages, decoder_pb2.SamplingParams(max_tokens=3))
    assert [event.WhichOneof("event") for event in events] == ["started", "token", "token", "finished"]
    assert "".join(event.token.text for event in events) == "onetwo"
    assert list(gateway.script.seen[0].request.messages) == messages
    assert gateway.script.seen[0].request.sampling.max_tokens == 3


async def test_an_answer_comes_whole(gateway: Gateway, client: Client) -> None:
    answer = await client.answer([user("one", "two")], max_tokens=3, priority="batch", request_id="mine")
    assert (answer.text, answer.finish_reason, answer.model) == ("onetwo", "length", "tiny")
    assert (answer.request_id, answer.usage.completion_tokens) == ("mine", 2)
    assert gateway.script.seen[0].request.priority == decoder_pb2.PRIORITY_BATCH


async def test_a_refusal_is_the_gateways_own_error(client: Client) -> None:
    with pytest.raises(MediaError, match="It is not an image") as caught:
        await client.chat([user("look", image(b"bad"))])
    assert caught.value.field == "messages[0].parts[1].image_bytes"


@pytest.mark.parametrize("text", ["broken", "cut off"])
async def test_an_answer_that_breaks_off_is_an_error_and_not_begun_again(
    gateway: Gateway, client: Client, text: str
) -> None:
    with pytest.raises(UnavailableError):
        await client.answer([user(text)])
    assert len(gateway.script.seen) == 1


async def test_media_are_kept_listed_and_forgotten(gateway: Gateway, client: Client) -> None:
    put = await client.put_media(image(b"three"), ttl_s=60)
    assert put.media_handle == "media-5"
    assert gateway.script.seen[0].request.ttl.seconds == 60
    assert [media.media_handle for media in await client.list_media()] == gateway.script.media
    assert [seen.method for seen in gateway.script.seen] == ["PutMedia", *["ListMedia"] * 3]
    assert await client.delete_media("media-5") is None
    with pytest.raises(NotFoundError) as caught:
        await client.delete_media("media-5")
    assert caught.value.field == "media_handle"


async def test_media_are_encoded_and_counted(gateway: Gateway, client: Client) -> None:
    assert (await client.encode(image(b"I"))).embedding.fingerprint == "f"
    assert gateway.script.seen[0].request.part.image_bytes == b"I"
    assert (await client.count_tokens([user("hi")], model="tiny")).prompt_tokens.text == 7
    assert gateway.script.seen[1].request.model == "tiny"


async def test_the_model_is_told(client: Client) -> None:
    assert (await client.model()).context_tokens == 256


async def test_every_call_carries_the_key_the_id_and_a_deadline(
    gateway: Gateway, connect: Callable[..., Client]
) -> None:
    client = connect(gateway.target, api_key="tk-secret\n")
    named = {"request_id": "mine", "timeout_s": SOON_S}
    await client.answer([user("hi")], **named)
    await client.put_media(image(b"I"), **named)
    await client.list_media(**named)
    await client.delete_media("media-1", **named)
    await client.encode(image(b"I"), **named)
    await client.count_tokens([user("hi")], **named)
    await client.model(**named)
    assert {seen.method for seen in gateway.script.seen} == {
        "Chat", "PutMedia", "ListMedia", "DeleteMedia", "Encode", "CountTokens", "GetModel",
    }  # fmt: skip
    for seen in gateway.script.seen:
        assert (seen.headers["authorization"], seen.headers["x-request-id"]) == ("Bearer tk-secret", "mine")
        assert seen.left_s is not None
        assert seen.left_s < SOON_S + 1  # the wire rounds up


async def test_without_a_key_or_an_id_none_is_sent(gateway: Gateway, client: Client) -> None:
    await client.model()
    assert not {"authorization", "x-request-id"} & set(gateway.script.seen[0].headers)
    assert gateway.script.seen[0].left_s is not None


@pytest.mark.parametrize("kind", [OmniClient, SyncOmniClient])
@pytest.mark.parametrize("key", ["tk-\x00secret", "tk-sécret", "tk-se\ncret"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(kind: Callable[..., object], key: str) -> None:
    with pytest.raises(SettingsError, match="printable ASCII") as caught:
        kind("127.0.0.1:1", api_key=key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 129, "two\nlines", "Ümlaut"])
async def test_an_id_that_cannot_be_sent_is_refused(client: Client, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        await client.model(request_id=name)
    assert caught.value.field == "request_id"
    with pytest.raises(RequestError):
        await client.answer([user("hi")], request_id=name)


async def test_no_gateway_is_unavailable(connect: Callable[..., Client]) -> None:
    client = connect("127.0.0.1:1")
    with pytest.raises(UnavailableError, match="The gateway does not answer"):
        await client.model()
    with pytest.raises(UnavailableError, match="The gateway does not answer"):
        await client.chat([user("hi")])


async def test_leaving_cancels_the_answer(gateway: Gateway) -> None:
    async with OmniClient(gateway.target) as client:
        events = client.chat([user("forever")])
        await anext(events)
        assert (await anext(events)).token.text == "forever"
        await events.aclose()
        async with asyncio.timeout(SOON_S):
            await gateway.script.left.wait()
    assert gateway.script.left.is_set()


async def test_leaving_the_blocking_client_cancels_the_answer(gateway: Gateway) -> None:
    with SyncOmniClient(gateway.target) as client:
        events = client.chat([user("forever")])

        def begin_and_leave() -> str:
            next(events)
            text = next(events).token.text
            events.close()
            return text

        assert await asyncio.to_thread(begin_and_leave) == "forever"
        async with asyncio.timeout(SOON_S):
            await gateway.script.left.wait()
    assert gateway.script.left.is_set()


async def test_threads_share_one_blocking_client(gateway: Gateway) -> None:
    with SyncOmniClient(gateway.target) as client:
        asked = [asyncio.to_thread(client.answer, [user(str(number))]) for number in range(8)]
        answers = await asyncio.gather(*asked)
    assert [answer.text for answer in answers] == [str(number) for number in range(8)]
