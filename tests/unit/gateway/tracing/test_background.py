"""What no request waits for is in no request's trace, and in none of its own."""

from __future__ import annotations

import asyncio

import pytest

from gateway import recent
from gateway.routing.tasks import Tasks
from tests.redis_lab import RedisServer
from tests.spans_lab import RecordedSpans
from tests.unit.gateway.lab import Lab, text
from tests.unit.gateway.tracing.trees import SOON_S, ended, until
from trichord import demand
from trichord.errors import SettingsError
from trichord.redis_link import RedisAwayError, RedisLink
from trichord.telemetry import names, spans


async def test_asking_anew_what_is_served(lab: Lab, recorded: RecordedSpans) -> None:
    lab.cluster.decoder._model._loaded_s -= 2 * recent.FRESH_S
    num_asked = len(lab.decoder.models.metadata)
    await lab.ask(text())
    await until(lambda: len(lab.decoder.models.metadata) > num_asked)
    await ended(recorded, "trichord.v1.OmniService/Chat")
    assert [span.name for span in recorded.ended if "GetModel" in span.name] == []
    _, trace_id, _, flags = lab.decoder.models.metadata[-1]["traceparent"].split("-")
    assert trace_id != f"{recorded.one('chat fake').context.trace_id:032x}"
    assert int(flags, 16) & 1 == 0


async def test_a_task_that_a_request_happens_to_start(recorded_spans: RecordedSpans) -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def work() -> None:
        with spans.span("watching"):
            done.set()

    with spans.span("request"):
        tasks.start(work(), name="watch")
        await asyncio.wait_for(done.wait(), SOON_S)
    assert recorded_spans.tree() == [("request", "")]
    await tasks.cancel()


async def test_a_command_of_nobodys_request(redis_server: RedisServer, recorded_spans: RecordedSpans) -> None:
    link = RedisLink(redis_server.url)
    await demand.wake(link, "vision")
    assert recorded_spans.ended == ()
    with spans.span("request"):
        await demand.wake(link, "vision")
    assert recorded_spans.tree() == [("redis demand wake", "request"), ("request", "")]
    assert dict(recorded_spans.one("redis demand wake").attributes) == {
        "db.system.name": "redis",
        "db.operation.name": "demand wake",
    }
    await link.close()


async def test_a_command_that_fails_and_one_that_is_not_even_tried(recorded_spans: RecordedSpans) -> None:
    link = RedisLink("unix:///nowhere/redis.sock")
    with spans.span("request"):
        for _ in range(6):
            with pytest.raises(RedisAwayError):
                await demand.wake(link, "vision")
    tried = recorded_spans.named("redis demand wake")
    assert {span.attributes[names.ERROR_TYPE] for span in tried} == {"UNAVAILABLE"}
    assert len(tried) == 6
    await link.close()


async def test_an_unrecorded_request_makes_no_spans(redis_server: RedisServer, recorded_spans: RecordedSpans) -> None:
    recorded_spans.switch.is_on = False
    link = RedisLink(redis_server.url)
    with spans.span("request") as outer:
        with spans.span("inside") as inner, spans.detached("beside") as beside:
            assert inner is beside is outer
            await demand.wake(link, "vision")
        with pytest.raises(SettingsError), spans.span("failing"):
            raise SettingsError("No.")
    assert recorded_spans.ended == ()
    await link.close()
