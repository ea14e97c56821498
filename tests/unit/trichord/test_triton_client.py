"""The client of Triton's protocol, against a small server that speaks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trichord.errors import DeadlineError, InternalError, OverloadedError, TrichordError, UnavailableError
from trichord.server import channel_options
from trichord.tensors import BFLOAT16
from trichord.triton.client import TritonClient

LIMIT = 64 << 20
SOON_S = 20
CANCELLATION_S = 0.05
"""How long the fake waits for a cancellation: a client that cancels is first seen to say no more."""

Responses = AsyncIterator[Any]


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers as a test tells it; notes what it was asked, and whether it was left or could end by itself."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, Any] = {}
        self.time_remaining_s = 0.0
        self.left, self.ended = asyncio.Event(), asyncio.Event()
        self.answer: Callable[[Any], Any] = lambda request: service_pb2.ModelInferResponse()
        self.stream: Callable[[Any], Responses] = nothing

    async def ModelReady(self, request: Any, context: Any) -> Any:
        if request.name == "broken":
            await context.abort(grpc.StatusCode.INTERNAL, "broken")
        return service_pb2.ModelReadyResponse(ready=request.name == "siglip")

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.time_remaining_s = context.time_remaining()
        try:
            answer = self.answer(request)
            if isinstance(answer, tuple):
                await context.abort(*answer)
            return await answer if asyncio.iscoroutine(answer) else answer
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Responses:
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining_s = context.time_remaining()
        try:
            async for request in requests:
                self.requests.append(request)
                async for response in self.stream(request):
                    if isinstance(response, tuple):
                        await context.abort(*response)
                    yield response
                    if not response.infer_response.model_name:
                        return
            await asyncio.sleep(CANCELLATION_S)
            self.ended.set()
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


async def nothing(request: Any) -> Responses:
    yield end_of_stream()


def end_of_stream() -> Any:
    """Makes the fake end its stream with OK, as no Triton does before the final response."""
    return service_pb2.ModelStreamInferResponse()


def infer_response(*, final: bool = False, **outputs: tuple[str, list[int], bytes]) -> Any:
    response = service_pb2.ModelInferResponse(model_name="llama")
    for name, (datatype, shape, raw) in outputs.items():
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
    response.parameters["triton_final_response"].bool_param = final
    return response


def stream_response(**kwargs: Any) -> Any:
    return service_pb2.ModelStreamInferResponse(infer_response=infer_response(**kwargs))


def tokens(*ids: int) -> tuple[str, list[int], bytes]:
    return "INT32", [len(ids)], np.array(ids, "<i4").tobytes()


@pytest.fixture
async def triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture
async def client(triton: FakeTriton) -> AsyncIterator[TritonClient]:
    server = grpc.aio.server(options=channel_options(LIMIT))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = TritonClient(f"127.0.0.1:{port}", LIMIT)
    yield client
    await client.close()
    await server.stop(0)


@pytest.fixture
async def nobody() -> AsyncIterator[TritonClient]:
    """A client of an address where nothing listens."""
    client = TritonClient("127.0.0.1:1", LIMIT)
    yield client
    await client.close()


PCM = {"PCM": np.zeros((1, 8), np.float32)}


# Readiness


async def test_ready_is_what_the_server_says(client: TritonClient) -> None:
    assert await client.model_ready("siglip")
    assert not await client.model_ready("other")
    assert not await client.model_ready("broken")


async def test_a_server_that_is_away_is_not_ready(nobody: TritonClient) -> None:
    assert not await nobody.model_ready("siglip")


# Unary


async def test_inputs_travel_as_they_are(client: TritonClient, triton: FakeTriton) -> None:
    inputs = {
        "PATCHES": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
        "ROWS": np.array([[1.5, -2]], BFLOAT16),
        "SIZES": np.array([[[2, 3]]], np.int32),
        "PCM": np.array([[0.5]], np.float32),
    }
    await client.infer("siglip", inputs, timeout_s=5)
    (request,) = triton.requests
    assert request.model_name == "siglip"
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs] == [
        ("PATCHES", "UINT8", [1, 2, 3]),
        ("ROWS", "BF16", [1, 2]),
        ("SIZES", "INT32", [1, 1, 2]),
        ("PCM", "FP32", [1, 1]),
    ]
    assert list(request.raw_input_contents) == [
        bytes(range(6)),
        bytes.fromhex("c03f 00c0"),
        bytes.fromhex("02000000 03000000"),
        bytes.fromhex("0000003f"),
    ]


async def test_outputs_come_back_by_name(client: TritonClient, triton: FakeTriton) -> None:
    triton.answer = lambda request: infer_response(
        EMBEDDING=("BF16", [1, 2, 2], bytes.fromhex("c03f 00c0 803f 0000")), NUM=("INT32", [], b"\x07\0\0\0")
    )
    outputs = await client.infer("siglip", PCM, timeout_s=5)
    assert outputs["EMBEDDING"].dtype == BFLOAT16
    assert outputs["EMBEDDING"].tolist() == [[[1.5, -2], [1, 0]]]
    assert outputs["NUM"] == 7


async def test_the_queue_and_the_call_get_the_time_there_is(client: TritonClient, triton: FakeTriton) -> None:
    await client.infer("whisper", PCM, timeout_s=2.5)
    assert triton.requests[0].parameters["timeout"].int64_param == 2_500_000
    assert 0 < triton.time_remaining_s <= 2.51


async def asked(client: TritonClient, streamed: bool) -> dict[str, Any]:
    """The first outputs of a request of either kind."""
    if streamed:
        return await anext(client.stream("siglip", PCM, {}, timeout_s=5))
    return await client.infer("siglip", PCM, timeout_s=5)


STATUSES = [
    (grpc.StatusCode.UNAVAILABLE, "[request id: x] Exceeds maximum queue size", OverloadedError),
    (grpc.StatusCode.UNAVAILABLE, "[request id: x] Request timeout expired", DeadlineError),
    (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'siglip' has no available versions", UnavailableError),
    (grpc.StatusCode.UNAVAILABLE, "Server is stopping", UnavailableError),
    (grpc.StatusCode.CANCELLED, "cancelled", UnavailableError),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "late", DeadlineError),
    (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'siglip' is not found", InternalError),
    (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'PCM'", InternalError),
    (grpc.StatusCode.INTERNAL, "Traceback /srv/model.py secret", InternalError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max", InternalError),
]


@pytest.mark.parametrize(("code", "text", "cls"), STATUSES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_tritons_statuses_are_ours(
    client: TritonClient,
    triton: FakeTriton,
    code: grpc.StatusCode,
    text: str,
    cls: type[TrichordError],
    streamed: bool,
) -> None:
    async def fail(request: Any) -> Responses:
        yield code, text

    triton.answer, triton.stream = (lambda request: (code, text)), fail
    with pytest.raises(TrichordError) as caught:
        await asked(client, streamed)
    assert type(caught.value) is cls
    assert text not in caught.value.message
    assert "siglip" not in caught.value.message
    assert (caught.value.retry_after_s is not None) == issubclass(cls, OverloadedError | UnavailableError)
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)  # whole, for the log


async def test_a_request_that_takes_too_long_is_a_deadline(client: TritonClient, triton: FakeTriton) -> None:
    triton.answer = lambda request: asyncio.sleep(3600)
    with pytest.raises(DeadlineError):
        await client.infer("siglip", PCM, timeout_s=0.1)
    await asyncio.wait_for(triton.left.wait(), SOON_S)


async def test_a_caller_that_leaves_cancels_its_request(client: TritonClient, triton: FakeTriton) -> None:
    entered = asyncio.Event()

    async def stuck() -> Any:
        entered.set()
        await asyncio.Event().wait()

    triton.answer = lambda request: stuck()
    task = asyncio.create_task(client.infer("siglip", PCM, timeout_s=60))
    await asyncio.wait_for(entered.wait(), SOON_S)
    task.cancel()
    await asyncio.wait_for(triton.left.wait(), SOON_S)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_is_away_is_unavailable(nobody: TritonClient, streamed: bool) -> None:
    with pytest.raises(UnavailableError) as caught:
        await asked(nobody, streamed)
    assert caught.value.retry_after_s is not None


# Streams


async def test_a_stream_ends_with_the_models_final_response(client: TritonClient, triton: FakeTriton) -> None:
    """The final response has no outputs if the model closed its sender after the last of them."""

    async def three(request: Any) -> Responses:
        yield stream_response(TOKEN_IDS=tokens(1, 2))
        yield stream_response(TOKEN_IDS=tokens(3))
        yield stream_response(final=True)

    triton.stream = three
    outputs = [output async for output in client.stream("llama", PCM, {}, timeout_s=5)]
    assert [output["TOKEN_IDS"].tolist() for output in outputs] == [[1, 2], [3]]


async def test_the_final_response_may_have_outputs(client: TritonClient, triton: FakeTriton) -> None:
    async def two(request: Any) -> Responses:
        yield stream_response(TOKEN_IDS=tokens(1))
        yield stream_response(final=True, TOKEN_IDS=tokens())

    triton.stream = two
    outputs = [output async for output in client.stream("llama", PCM, {}, timeout_s=5)]
    assert [output["TOKEN_IDS"].tolist() for output in outputs] == [[1], []]


@pytest.mark.parametrize("final", [{"TOKEN_IDS": tokens(1)}, {}])
@pytest.mark.parametrize("num_read", [1, 2])
async def test_a_stream_that_had_its_last_response_is_triton_s_to_end(
    client: TritonClient, triton: FakeTriton, final: dict[str, Any], num_read: int
) -> None:
    """Also if its reader goes at once, and the client is closed: Triton loses streams cancelled at that moment."""

    async def one(request: Any) -> Responses:
        yield stream_response(final=True, **final)

    triton.stream = one
    async with contextlib.aclosing(client.stream("llama", PCM, {}, timeout_s=60)) as stream:
        for _ in range(num_read):
            await anext(stream, None)
    await client.close()
    await asyncio.wait_for(triton.ended.wait(), SOON_S)
    assert not triton.left.is_set()


async def test_a_server_that_breaks_off_after_its_last_response_has_answered(
    client: TritonClient, triton: FakeTriton
) -> None:
    async def one(request: Any) -> Responses:
        yield stream_response(final=True, TOKEN_IDS=tokens(1))
        yield grpc.StatusCode.UNAVAILABLE, "gone"

    triton.stream = one
    for _ in range(20):
        outputs = [output async for output in client.stream("llama", PCM, {}, timeout_s=5)]
        assert [output["TOKEN_IDS"].tolist() for output in outputs] == [[1]]


async def test_parameters_travel_by_their_types(client: TritonClient, triton: FakeTriton) -> None:
    async def final(request: Any) -> Responses:
        yield stream_response(final=True)

    triton.stream = final
    parameters = {"ignore_eos": True, "max_tokens": 7, "temperature": 0.5, "stop_token_ids": "1,2"}
    assert [output async for output in client.stream("llama", PCM, parameters, timeout_s=5)] == []
    sent = triton.requests[0].parameters
    assert sent["ignore_eos"].bool_param is True
    assert sent["max_tokens"].int64_param == 7
    assert sent["temperature"].double_param == 0.5
    assert sent["stop_token_ids"].string_param == "1,2"
    assert sent["triton_enable_empty_final_response"].bool_param is True
    assert triton.metadata["triton_grpc_error"] == "true"
    assert 0 < triton.time_remaining_s <= 5.1


async def test_a_stream_that_just_ends_has_failed(client: TritonClient, triton: FakeTriton) -> None:
    async def cut(request: Any) -> Responses:
        yield stream_response(TOKEN_IDS=tokens(1))
        yield end_of_stream()

    triton.stream = cut
    stream = client.stream("llama", PCM, {}, timeout_s=5)
    assert (await anext(stream))["TOKEN_IDS"].tolist() == [1]
    with pytest.raises(UnavailableError):
        await anext(stream)


IN_BAND = [
    ("secret /srv", InternalError),
    ("Request for unknown model: 'llama' has no available versions", UnavailableError),  # as a Triton that drains says
]


@pytest.mark.parametrize(("text", "cls"), IN_BAND)
async def test_an_error_in_the_band_is_an_error(
    client: TritonClient, triton: FakeTriton, text: str, cls: type[TrichordError]
) -> None:
    async def told(request: Any) -> Responses:
        yield stream_response(TOKEN_IDS=tokens(1))
        yield service_pb2.ModelStreamInferResponse(error_message=text, infer_response=infer_response())

    triton.stream = told
    stream = client.stream("llama", PCM, {}, timeout_s=5)
    assert (await anext(stream))["TOKEN_IDS"].tolist() == [1]
    with pytest.raises(cls) as caught:
        await anext(stream)
    assert text not in caught.value.message


async def endless(request: Any) -> Responses:
    while True:
        yield stream_response(TOKEN_IDS=tokens(1))
        await asyncio.sleep(0)


async def silent(request: Any) -> Responses:
    yield stream_response(TOKEN_IDS=tokens(1))
    await asyncio.Event().wait()


@pytest.mark.parametrize("behaviour", [endless, silent])
async def test_closing_the_iterator_cancels_the_request(
    client: TritonClient, triton: FakeTriton, behaviour: Callable[[Any], Responses]
) -> None:
    triton.stream = behaviour
    async with contextlib.aclosing(client.stream("llama", PCM, {}, timeout_s=60)) as stream:
        await anext(stream)
        assert not triton.left.is_set()
    await asyncio.wait_for(triton.left.wait(), SOON_S)


async def test_a_reader_that_is_cancelled_cancels_the_request(client: TritonClient, triton: FakeTriton) -> None:
    triton.stream = silent
    stream = client.stream("llama", PCM, {}, timeout_s=60)
    await anext(stream)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait_for(triton.left.wait(), SOON_S)
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_stream_past_its_time_is_a_deadline(client: TritonClient, triton: FakeTriton) -> None:
    triton.stream = silent
    stream = client.stream("llama", PCM, {}, timeout_s=0.5)
    assert (await anext(stream))["TOKEN_IDS"].tolist() == [1]
    with pytest.raises(DeadlineError):
        await anext(stream)
    await asyncio.wait_for(triton.left.wait(), SOON_S)


@pytest.mark.parametrize("timeout_s", [0, -1, 1e-9])
async def test_no_time_at_all_is_a_deadline(client: TritonClient, triton: FakeTriton, timeout_s: float) -> None:
    async def stuck(request: Any) -> Responses:
        await asyncio.Event().wait()
        yield end_of_stream()

    triton.stream, triton.answer = stuck, lambda request: asyncio.sleep(3600)
    with pytest.raises(DeadlineError):
        await anext(client.stream("llama", PCM, {}, timeout_s=timeout_s))
    with pytest.raises(DeadlineError):
        await client.infer("llama", PCM, timeout_s=timeout_s)


async def test_closing_the_client_ends_its_streams(client: TritonClient, triton: FakeTriton) -> None:
    triton.stream = silent
    stream = client.stream("llama", PCM, {}, timeout_s=60)
    await anext(stream)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises((TrichordError, asyncio.CancelledError)):
        await asyncio.wait_for(reading, SOON_S)
    await asyncio.wait_for(triton.left.wait(), SOON_S)


async def test_a_large_message_passes(client: TritonClient, triton: FakeTriton) -> None:
    """Over gRPC's default of 4 MiB, both ways."""
    raw = bytes(8 << 20)
    triton.answer = lambda request: infer_response(EMBEDDING=("FP32", [1, len(raw) // 4], raw))
    outputs = await client.infer("siglip", {"PCM": np.zeros((1, 2 << 20), np.float32)}, timeout_s=SOON_S)
    assert outputs["EMBEDDING"].nbytes == len(triton.requests[0].raw_input_contents[0]) == len(raw)
