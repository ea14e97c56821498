"""A simulated cluster answers as a real one does, in order, and everything that it gives says that it is simulated."""

from __future__ import annotations

import grpc
import pytest

from tests.conftest import LocalCluster, free_ports, trichord
from tests.e2e.media import png, wav
from trichord.checkpoint.presets import PRESETS
from trichord.client import OmniClient, audio, image, user
from trichord.errors import FingerprintError, NotFoundError
from trichord.status import from_rpc_error
from trichord.tensors import from_proto
from trichord.v1 import decoder_pb2, decoder_pb2_grpc, gateway_pb2, gateway_pb2_grpc, vision_pb2, vision_pb2_grpc

NAME = "test-simulated"


@pytest.fixture(scope="module")
def simulated_cluster(tiny_cluster):
    """Beside the real one, of the same preset, so that only what is simulated differs."""
    port = free_ports()
    try:
        trichord("up", "--name", NAME, "--preset", "tiny", "--dtype", "float32", "--port", str(port), "--simulated")
        yield LocalCluster(NAME, port, tiny_cluster.checkpoint)
    finally:
        trichord("down", "--name", NAME)


async def ask(cluster, *parts, model="", **changes):
    """The events of an answer."""
    sampling = decoder_pb2.SamplingParams(max_tokens=32, **changes)
    request = gateway_pb2.ChatRequest(model=model, messages=[user(*parts)], sampling=sampling)
    async with grpc.aio.insecure_channel(cluster.gateway) as channel:
        try:
            return [event async for event in gateway_pb2_grpc.OmniServiceStub(channel).Chat(request, timeout=60)]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "gateway") from error


async def seen(cluster):
    """An embedding that a cluster's vision encoder made."""
    async with grpc.aio.insecure_channel(cluster.target("vision-encoder")) as channel:
        stub = vision_pb2_grpc.VisionEncoderServiceStub(channel)
        return (await stub.EncodeImage(vision_pb2.EncodeImageRequest(image=png(64, 64)))).embedding


async def generate(cluster, embedding):
    """The text that a cluster's decoder answers to an embedding."""
    message = decoder_pb2.DecoderMessage(
        role=decoder_pb2.ROLE_USER, parts=[decoder_pb2.DecoderPart(embedding=embedding)]
    )
    async with grpc.aio.insecure_channel(cluster.target("llm-decoder")) as channel:
        request = decoder_pb2.GenerateRequest(messages=[message], sampling=decoder_pb2.SamplingParams(max_tokens=20))
        try:
            events = [event async for event in decoder_pb2_grpc.DecoderServiceStub(channel).Generate(request)]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "decoder") from error
    return "".join(event.chunk.text for event in events)


async def test_text_image_and_sound_are_answered_in_order(simulated_cluster):
    events = await ask(simulated_cluster, "a", image(png(300, 170)), audio(wav(2.0)), "b", ignore_eos=True)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[:3] == ["started", "item_encoded", "item_encoded"]
    assert set(kinds[3:-1]) == {"token"}
    assert kinds[-1] == "finished"
    usage = events[-1].finished.usage
    assert (usage.prompt_tokens.image, usage.prompt_tokens.audio, usage.completion_tokens) == (7 * 16, 50 + 2, 32)


async def test_the_answer_the_model_and_the_status_say_that_they_are_simulated(simulated_cluster):
    events = await ask(simulated_cluster, "Hello")
    assert events[0].started.model == "tiny-simulated"
    assert "".join(event.token.text for event in events).startswith("[simulated]")
    async with OmniClient(simulated_cluster.gateway) as client:
        assert (await client.model()).model == "tiny-simulated"
    assert "simulated: smol-cpu" in " ".join(trichord("status", "--name", NAME).stdout.split())
    for process in ("vision-encoder-triton", "audio-encoder-triton", "llm-decoder-triton", "llm-decoder"):
        assert "this model is simulated" in trichord("logs", process, "--name", NAME, "-n", "400").stdout


async def test_who_asks_for_the_real_model_does_not_get_a_simulated_one(simulated_cluster):
    assert (await ask(simulated_cluster, "Hello", model="tiny-simulated"))[-1].HasField("finished")
    with pytest.raises(NotFoundError, match="tiny-simulated"):
        await ask(simulated_cluster, "Hello", model="tiny")


async def test_answers_are_seeded(simulated_cluster):
    async def text(**changes):
        return "".join(event.token.text for event in await ask(simulated_cluster, "Go", temperature=0.8, **changes))

    assert await text(seed=3) == await text(seed=3) != await text(seed=4)


async def test_neither_decoder_accepts_what_the_other_clusters_encoder_made(tiny_cluster, simulated_cluster):
    real, made_up = await seen(tiny_cluster), await seen(simulated_cluster)
    assert from_proto(real.values, "values").shape == from_proto(made_up.values, "values").shape
    assert (await generate(simulated_cluster, made_up)).startswith("[simulated]")
    for cluster, stranger in ((tiny_cluster, made_up), (simulated_cluster, real)):
        with pytest.raises(FingerprintError) as refused:
            await generate(cluster, stranger)
        assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION
        assert refused.value.field == "messages[0].parts[0].embedding.fingerprint"


async def test_a_model_that_nobody_has_is_simulated_without_weights(simulated_cluster):
    name, port = "test-simulated-megrez", free_ports()
    up = ("up", "--name", name, "--preset", "megrez-3b-omni", "--port", str(port), "--simulated")
    try:
        trichord(*up, "--simulation", "megrez-3b-omni-h100")
        events = await ask(LocalCluster(name, port, simulated_cluster.checkpoint), image(png(64, 64)), "What?")
    finally:
        trichord("down", "--name", name)
    assert events[0].started.model == PRESETS["megrez-3b-omni"].model + "-simulated"
    assert events[-1].finished.usage.prompt_tokens.image == 64
