"""The spans of chats that end well: which there are, whose children they are, and what they say."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from opentelemetry.trace import StatusCode

from tests.spans_lab import RecordedSpans
from tests.unit.gateway.fakes import Events
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, text
from tests.unit.gateway.tracing import trees
from tests.unit.gateway.tracing.trees import SOON_S, AnyHost, ended, kept, tree
from trichord.telemetry import names
from trichord.v1 import decoder_pb2, gateway_pb2

CHAT, GENERATE = "trichord.v1.OmniService/Chat", "trichord.v1.DecoderService/Generate"
ENCODE_IMAGE = "trichord.v1.VisionEncoderService/EncodeImage"


async def test_text_alone(lab: Lab, recorded: RecordedSpans) -> None:
    await lab.ask(text())
    assert tree(recorded) == trees.text("""
        < OmniService/Chat
            chat fake
                admit
                    > redis budgets reserve
                merge
                lane
                > DecoderService/Generate
                    < DecoderService/Generate
                > redis budgets settle
    """)


async def test_an_image_and_a_sound(lab: Lab, recorded: RecordedSpans) -> None:
    await lab.ask(text(), image(), audio())
    await kept(lab)
    assert tree(recorded) == trees.text("""
        < OmniService/Chat
            chat fake
                admit
                    > redis budgets reserve
                check
                    > DecoderService/CountTokens
                        < DecoderService/CountTokens
                encode item
                    store lookup
                        > redis embedding find
                    lane
                    > VisionEncoderService/EncodeImage
                        < VisionEncoderService/EncodeImage
                    > redis embedding keep
                encode item
                    store lookup
                        > redis embedding find
                    lane
                    > AudioEncoderService/EncodeAudio
                        < AudioEncoderService/EncodeAudio
                    > redis embedding keep
                merge
                lane
                > DecoderService/Generate
                    < DecoderService/Generate
                > redis budgets settle
    """)
    items = {span.attributes[names.MODALITY]: dict(span.attributes) for span in recorded.named("encode item")}
    assert items["image"] == {
        names.PART: "messages[0].parts[1].image_bytes",
        names.MODALITY: "image",
        names.SOURCE: "encoded",
        names.TOKENS: 2,
        names.UNITS: 1,
    }
    assert (items["audio"][names.TOKENS], items["audio"][names.UNITS]) == (5, 2)
    assert {span.attributes[names.MODALITY] for span in recorded.named("lane")} == {"image", "audio", "text"}


async def test_what_nobody_has_asked_yet_is_asked_in_the_request(lab: Lab, recorded_spans: RecordedSpans) -> None:
    await lab.ask(image())
    await kept(lab)
    asked = [span.name.removeprefix("trichord.v1.") for span in recorded_spans.ended if "GetModel" in span.name]
    assert sorted(asked) == [f"{service}/GetModel" for service in ["DecoderService"] * 2 + ["VisionEncoderService"] * 2]
    (left,) = [line for line in tree(recorded_spans).splitlines() if not line.startswith(" ")]
    assert left == "< OmniService/Chat"


async def test_an_embedding_from_the_store(lab: Lab, recorded: RecordedSpans) -> None:
    await lab.ask(image())
    await kept(lab)
    recorded.clear()
    await lab.ask(image())
    below = tree(recorded).partition("encode item\n")[2].splitlines()
    assert [line.strip() for line in below][:3] == ["store lookup", "> redis embedding find", "merge"]
    assert recorded.one("store lookup").attributes[names.LOOKUP] == "hit"
    assert recorded.one("encode item").attributes[names.SOURCE] == "store"


async def test_who_waits_for_anothers_encode_is_linked_to_it(lab: Lab, recorded: RecordedSpans) -> None:
    go_on = asyncio.Event()

    async def held(content: bytes) -> None:
        await go_on.wait()

    lab.vision.step = held
    first = asyncio.create_task(lab.ask(image()))
    await asyncio.wait_for(lab.vision.calls.entered.wait(), SOON_S)
    second = asyncio.create_task(lab.ask(image()))
    await trees.until(
        lambda: any(flight.num_waiting == 2 for flight in lab.cluster.embeddings._flights._flights.values())
    )
    go_on.set()
    await asyncio.gather(first, second)
    flight = recorded.one("flight")
    leader, follower = sorted(recorded.named("encode item"), key=lambda span: span.start_time)
    assert flight.parent.span_id == follower.context.span_id
    assert [link.context.span_id for link in flight.links] == [leader.context.span_id]
    assert leader.context.trace_id != follower.context.trace_id
    assert [span.attributes[names.SOURCE] for span in (leader, follower)] == ["encoded", "flight"]
    (attempt,) = [span for span in recorded.named(ENCODE_IMAGE) if span.attributes.get(names.ATTEMPT)]
    assert attempt.parent.span_id == leader.context.span_id


async def test_who_waits_for_another_gateways_encode_says_so(lab: Lab, recorded: RecordedSpans) -> None:
    find, num_asked = lab.cluster.embeddings._records.find, 0

    async def theirs_at_first(digest: bytes, token: bytes) -> object:
        nonlocal num_asked
        num_asked += 1
        return "theirs" if num_asked < 3 else await find(digest, token)

    lab.cluster.embeddings._records.find = theirs_at_first  # type: ignore[method-assign, assignment]
    assert kinds(await lab.ask(image()))[-1] == "finished"
    lookup, flight = recorded.one("store lookup"), recorded.one("flight")
    assert lookup.attributes[names.LOOKUP] == "flight"
    assert lookup.end_time <= flight.start_time < flight.end_time
    assert lookup.parent == flight.parent
    assert not flight.links


async def test_a_handle_is_fetched_before_admission(lab: Lab, recorded: RecordedSpans) -> None:
    put = await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=b"I"))
    assert tree(recorded) == trees.text("""
        < OmniService/PutMedia
            > redis media count in
            > redis media put
    """)
    recorded.clear()
    await lab.ask(gateway_pb2.Part(media_handle=put.media_handle))
    assert tree(recorded).startswith(
        trees.text("""
        < OmniService/Chat
            chat fake
                fetch
                    > redis media get
                admit
    """)
    )
    assert recorded.one("fetch").attributes[names.PART] == "messages[0].parts[0].media_handle"


async def test_an_address_is_fetched_in_its_items_turn(lab: Lab, recorded: RecordedSpans) -> None:
    lab.cluster.sources._fetcher = AnyHost()  # type: ignore[assignment]
    await lab.ask(gateway_pb2.Part(image_url="https://example.com/cat.png"))
    below = tree(recorded).partition("encode item\n")[2].splitlines()
    assert [line.strip() for line in below][:2] == ["fetch", "store lookup"]
    assert dict(recorded.one("fetch").attributes) == {}


async def test_the_other_calls(lab: Lab, recorded: RecordedSpans) -> None:
    await lab.stub.Encode(gateway_pb2.EncodeRequest(part=audio()))
    await kept(lab)
    recorded.clear()
    request = gateway_pb2.OmniServiceCountTokensRequest(messages=chat_request(audio()).messages)
    await lab.stub.CountTokens(request)
    assert tree(recorded) == trees.text("""
        < OmniService/CountTokens
            admit
                > redis budgets reserve
            encode item
                store lookup
                    > redis embedding find
            > DecoderService/CountTokens
                < DecoderService/CountTokens
            > redis budgets settle
    """)


async def test_the_chat_says_what_was_asked_and_what_it_took(lab: Lab, recorded: RecordedSpans) -> None:
    sampling = decoder_pb2.SamplingParams(max_tokens=9, temperature=0.5, top_p=0.9, top_k=5, seed=7, n=1)
    await lab.chat(chat_request(text(), request_id="mine", model="fake", sampling=sampling))
    chat = recorded.one("chat fake")
    told = dict(chat.attributes)
    assert 0 < told.pop(names.TIME_TO_FIRST_CHUNK) < (chat.end_time - chat.start_time) / 1e9
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "trichord",
        "gen_ai.request.model": "fake",
        "gen_ai.response.model": "fake",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 1,
        "gen_ai.response.finish_reasons": ("end_of_turn",),
        "gen_ai.usage.input_tokens": 14,
        "gen_ai.usage.text.input_tokens": 7,
        "gen_ai.usage.image.input_tokens": 2,
        "gen_ai.usage.audio.input_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 3,
        "trichord.request_id": "mine",
    }
    assert chat.status.status_code is StatusCode.OK


@pytest.mark.parametrize(("seed", "is_told"), [((1 << 63) - 1, True), ((1 << 64) - 1, False)])
async def test_a_seed_that_no_collector_could_read_is_left_out(
    lab: Lab, recorded: RecordedSpans, seed: int, is_told: bool
) -> None:
    await lab.chat(chat_request(text(), sampling=decoder_pb2.SamplingParams(seed=seed)))
    assert (names.REQUEST_SEED in recorded.one("chat fake").attributes) == is_told


async def test_an_attempt_says_where_it_went_and_when_the_answer_began(lab: Lab, recorded: RecordedSpans) -> None:
    await lab.ask(text())
    attempt, served = sorted(recorded.named(GENERATE), key=lambda span: span.start_time)
    assert dict(attempt.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": GENERATE,
        "trichord.replica": f"127.0.0.1:{lab.servers['decoder'].port}",
        "server.address": "127.0.0.1",
        "server.port": lab.servers["decoder"].port,
        "trichord.attempt": 1,
    }
    (event,) = attempt.events
    assert event.name == "first token"
    assert served.start_time < event.timestamp < attempt.end_time
    assert attempt.status.status_code is StatusCode.OK


async def test_every_hop_is_told_its_own_span(lab: Lab, recorded: RecordedSpans) -> None:
    events = await lab.ask(image(), audio())
    hops = [*lab.vision.calls.metadata, *lab.audio.calls.metadata, *lab.decoder.counts.metadata]
    told = [hop["traceparent"].split("-") for hop in [*hops, *lab.decoder.calls.metadata]]
    attempts = {f"{span.context.span_id:016x}" for span in recorded.ended if names.ATTEMPT in span.attributes}
    assert {trace_id for _, trace_id, _, _ in told} == {events[-1].finished.receipt.trace_id}
    assert {span_id for _, _, span_id, _ in told} == attempts
    assert len(attempts) == 4
    assert all(int(flags, 16) & 1 for _, _, _, flags in told)


async def test_chats_at_the_same_time_keep_their_spans_apart(lab: Lab, recorded: RecordedSpans) -> None:
    answers = await asyncio.gather(*(lab.ask(text(), image(bytes([i]))) for i in range(1, 6)))
    await kept(lab)
    ids = {span.context.span_id: span for span in recorded.ended}
    assert {f"{span.context.trace_id:032x}" for span in recorded.ended} == {
        events[-1].finished.receipt.trace_id for events in answers
    }
    for span in recorded.ended:
        assert span.name == CHAT or ids[span.parent.span_id].context.trace_id == span.context.trace_id
    sizes = Counter(span.context.trace_id for span in recorded.ended)
    assert len(sizes) == 5
    assert len(set(sizes.values())) == 1


async def test_what_is_kept_afterwards_does_not_hold_the_request_up(lab: Lab, recorded: RecordedSpans) -> None:
    keep, go_on = lab.cluster.embeddings._records.keep, asyncio.Event()

    async def slowly(*arguments: object) -> bool:
        await go_on.wait()
        return await keep(*arguments)  # type: ignore[arg-type]

    lab.cluster.embeddings._records.keep = slowly  # type: ignore[method-assign]
    await lab.ask(image())
    await ended(recorded, CHAT)
    go_on.set()
    await kept(lab)
    keeping, item, chat = (recorded.one(name) for name in ("redis embedding keep", "encode item", CHAT))
    assert keeping.parent.span_id == item.context.span_id
    assert item.end_time < chat.end_time < keeping.start_time


async def test_a_reason_that_only_a_newer_decoder_knows_is_none_to_fail_of(lab: Lab, recorded: RecordedSpans) -> None:
    async def newer(request: decoder_pb2.GenerateRequest) -> Events:
        yield decoder_pb2.GenerateResponse(finished=decoder_pb2.GenerateFinished(reason=99))  # type: ignore[arg-type]

    lab.decoder.answer = newer
    assert kinds(await lab.ask(text()))[-1] == "finished"
    assert recorded.one("chat fake").attributes[names.FINISH_REASONS] == ("unknown",)
