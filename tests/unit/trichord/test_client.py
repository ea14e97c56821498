"""The client against a real server with a scripted gateway."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from pydantic_settings import SettingsConfigDict

from trichord import server
from trichord.client import OmniClient, assistant, audio, image, system, user
from trichord.errors import MediaError, UnavailableError
from trichord.settings import ServiceSettings
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRICHORD_TEST_")


class ScriptedGateway(gateway_pb2_grpc.OmniServiceServicer):
    """Says each part of the request back, refuses the image ``bad``, and answers ``forever`` without end."""

    def __init__(self) -> None:
        self.requests: list[gateway_pb2.ChatRequest] = []
        self.left = asyncio.Event()

    async def Chat(
        self, request: gateway_pb2.ChatRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[gateway_pb2.ChatResponse]:
        self.requests.append(request)
        yield gateway_pb2.ChatResponse(started=gateway_pb2.ChatStarted(model="tiny"))
        try:
            for part in request.messages[-1].parts:
                if part.image_bytes == b"bad":
                    raise MediaError("It is not an image.", field="messages[0].parts[1].image_bytes")
                yield gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text=part.text))
            if request.messages[-1].parts[0].text == "forever":
                await asyncio.Event().wait()
        finally:
            self.left.set()
        yield gateway_pb2.ChatResponse(finished=gateway_pb2.ChatFinished(reason=decoder_pb2.FINISH_REASON_LENGTH))

    async def GetModel(
        self, request: gateway_pb2.OmniServiceGetModelRequest, context: grpc.aio.ServicerContext
    ) -> gateway_pb2.OmniServiceGetModelResponse:
        return gateway_pb2.OmniServiceGetModelResponse(model="tiny", context_tokens=256)


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[ScriptedGateway, str]]:
    scripted = ScriptedGateway()

    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(scripted, grpc_server)
        return ["trichord.v1.OmniService"]

    running = await server.start(register, Settings())
    yield scripted, f"127.0.0.1:{running.port}"
    await running.server.stop(0)


def test_messages_say_who_speaks_and_keep_the_order_of_parts() -> None:
    assert system("Be brief.").role == decoder_pb2.ROLE_SYSTEM
    assert assistant("Yes.").role == decoder_pb2.ROLE_ASSISTANT
    message = user("before", image(b"I"), audio(b"A"), "after")
    assert message.role == decoder_pb2.ROLE_USER
    assert [part.WhichOneof("part") for part in message.parts] == ["text", "image_bytes", "audio_bytes", "text"]
    assert (message.parts[1].image_bytes, message.parts[2].audio_bytes) == (b"I", b"A")


async def test_an_answer_streams_its_events(gateway: tuple[ScriptedGateway, str]) -> None:
    scripted, target = gateway
    async with OmniClient(target) as client:
        messages = [system("s"), user("one", "two")]
        events = [event async for event in client.chat(messages, decoder_pb2.SamplingParams(max_tokens=3))]
    assert [event.WhichOneof("event") for event in events] == ["started", "token", "token", "finished"]
    assert "".join(event.token.text for event in events) == "onetwo"
    assert list(scripted.requests[0].messages) == messages
    assert scripted.requests[0].sampling.max_tokens == 3


async def test_a_refusal_is_the_gateways_own_error(gateway: tuple[ScriptedGateway, str]) -> None:
    async with OmniClient(gateway[1]) as client:
        with pytest.raises(MediaError, match="It is not an image") as caught:
            [event async for event in client.chat([user("look", image(b"bad"))])]
    assert caught.value.field == "messages[0].parts[1].image_bytes"


async def test_leaving_cancels_the_answer(gateway: tuple[ScriptedGateway, str]) -> None:
    scripted, target = gateway
    async with OmniClient(target) as client:
        events = client.chat([user("forever")])
        await anext(events)
        assert (await anext(events)).token.text == "forever"
        await events.aclose()
        async with asyncio.timeout(10):
            await scripted.left.wait()
    assert scripted.left.is_set()


async def test_the_model_is_told(gateway: tuple[ScriptedGateway, str]) -> None:
    async with OmniClient(gateway[1]) as client:
        assert (await client.model()).context_tokens == 256


async def test_no_gateway_is_unavailable(gateway: tuple[ScriptedGateway, str]) -> None:
    async with OmniClient("127.0.0.1:1") as client:
        with pytest.raises(UnavailableError, match="The gateway does not answer"):
            await client.model()
        with pytest.raises(UnavailableError, match="The gateway does not answer"):
            [event async for event in client.chat([user("hi")])]
