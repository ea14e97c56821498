"""Splitting changes nothing: the cluster answers and embeds as one in-process model does, token for token."""

import grpc
import pytest
import torch

from tests.e2e.media import png, wav
from tests.fused import FusedModel
from trichord.client import OmniClient, assistant, audio, image, system, user
from trichord.tensors import from_proto
from trichord.v1 import audio_pb2, audio_pb2_grpc, decoder_pb2, vision_pb2, vision_pb2_grpc

NUM_TOKENS = 24

CONVERSATIONS = {
    "text": [user("What is the capital of France?")],
    "system and several turns": [
        system("Be brief."),
        user("One?"),
        assistant("Two."),
        user("Three\n\nand \U0001f642 four?"),
    ],
    "one small image": [user(image(png(64, 64)), "What is this?")],
    "sliced image after the text": [user("Look: ", image(png(300, 170, 1)))],
    "sound": [user(audio(wav(2.5)), "What was said?")],
    "sound over 30 s": [user(audio(wav(33.0, 3)), "And now?")],
    "image and sound": [user(image(png(200, 90, 2)), "between", audio(wav(1.1, 2)), "after")],
    "several images in turns": [
        user(image(png(70, 250, 3)), image(png(112, 112, 4)), "Compare."),
        assistant("They differ."),
        user("And this?", image(png(500, 60, 5))),
    ],
}


@pytest.fixture(scope="module")
def fused(tiny_cluster):
    torch.set_num_threads(1)
    return FusedModel(tiny_cluster.checkpoint)


async def greedy(cluster, messages, **changes):
    sampling = decoder_pb2.SamplingParams(max_tokens=NUM_TOKENS, temperature=0, **changes)
    token_ids = []
    async with OmniClient(cluster.gateway) as client:
        async for event in client.chat(messages, sampling, timeout_s=120):
            token_ids += event.token.token_ids
            finished = event.finished
    return token_ids, finished


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_greedy_tokens_are_identical_in_float32(tiny_cluster, fused, name):
    messages = CONVERSATIONS[name]
    answer, finished = await greedy(tiny_cluster, messages)
    assert answer == fused.greedy(messages, NUM_TOKENS)
    assert len(answer) > 3, "an empty answer proves nothing"
    assert finished.usage.prompt_tokens.text > 0


async def test_media_matter(tiny_cluster):
    answers = [(await greedy(tiny_cluster, [user(image(png(64, 64, seed)), "What is this?")]))[0] for seed in (0, 9)]
    assert answers[0] != answers[1]


async def test_embeddings_are_those_of_the_fused_model(tiny_cluster, fused):
    picture, sound = png(300, 170, 1), wav(33.0, 3)
    async with grpc.aio.insecure_channel(tiny_cluster.target("vision-encoder")) as channel:
        stub = vision_pb2_grpc.VisionEncoderServiceStub(channel)
        seen = (await stub.EncodeImage(vision_pb2.EncodeImageRequest(image=picture))).embedding
    async with grpc.aio.insecure_channel(tiny_cluster.target("audio-encoder")) as channel:
        stub = audio_pb2_grpc.AudioEncoderServiceStub(channel)
        heard = (await stub.EncodeAudio(audio_pb2.EncodeAudioRequest(audio=sound))).embedding

    for embedding, rows in ((seen, fused.image_rows(picture)[0]), (heard, fused.audio_rows(sound)[0])):
        values = torch.from_numpy(from_proto(embedding.values, "values").copy())
        torch.testing.assert_close(values, rows, rtol=1e-5, atol=1e-6)
