"""What becomes of one message: its effect first, once, and the commit last, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from job_worker import patience, verdict
from tests.gateway_lab import MODEL, Call, failing, finished, forever
from tests.spans_lab import RecordedSpans
from tests.unit.job_worker.worker_lab import (
    HERE,
    NONSENSE,
    TENANT,
    TOPICS,
    TRACEPARENT,
    Bench,
    FakeDelivery,
    item,
    keep,
)
from trichord.errors import InternalError, NotFoundError, OverloadedError, RequestError, UnavailableError
from trichord.jobs import layout
from trichord.jobs.message import Message, Origin
from trichord.v1 import gateway_pb2, jobs_pb2


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)


async def test_an_answer_is_kept_told_and_then_committed(bench: Bench) -> None:
    delivery = bench.delivery()
    await bench.work(delivery)
    result = await bench.result()
    assert result is not None
    assert (result.index, result.custom_id, result.state) == (0, "my-0", jobs_pb2.ITEM_STATE_COMPLETED)
    assert (result.texts, result.finished, result.model) == (["0 noitseuq"], finished("question 0"), MODEL)
    assert (result.request_id, result.attempts) == (f"{bench.record.job.id}-0", 1)
    assert abs(result.end_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(seconds=30)
    assert delivery.is_done


async def test_usage_is_that_of_the_kept_result_and_the_end_is_told_last(bench: Bench) -> None:
    await bench.work(bench.delivery())
    kept = await bench.result()
    assert kept is not None
    assert [topic for topic, _, _ in bench.queue.sent] == [TOPICS.usage, TOPICS.results]
    (event,) = bench.queue.bodies(TOPICS.usage)
    assert event == jobs_pb2.UsageEvent(
        id=kept.request_id,
        request_id=kept.request_id,
        tenant=TENANT,
        model=MODEL,
        usage=kept.finished.usage,
        end_time=kept.end_time,
        job_id=bench.record.job.id,
        trace_id="ab" * 16,
    )
    (told,) = bench.queue.bodies(TOPICS.results)
    assert told == jobs_pb2.ItemEnded(
        tenant=TENANT, job_id=bench.record.job.id, index=0, state=jobs_pb2.ITEM_STATE_COMPLETED
    )
    assert [key for _, key, _ in bench.queue.sent] == [TENANT, bench.record.job.id]


async def test_an_item_that_comes_again_is_not_asked_again_and_told_the_same(bench: Bench) -> None:
    await bench.work(bench.delivery())
    first = bench.queue.sent[:]
    bench.queue.sent.clear()
    again = bench.delivery()
    await bench.work(again)
    assert len(bench.gateway.calls) == 1
    assert bench.queue.sent == first
    assert again.is_done


async def test_a_worker_killed_after_keeping_has_its_result_told_by_the_next(bench: Bench) -> None:
    bench.queue.failures = [asyncio.CancelledError()]  # type: ignore[list-item]
    delivery = bench.delivery()
    with pytest.raises(asyncio.CancelledError):
        await bench.worker.work(delivery)  # type: ignore[arg-type]
    assert await bench.result()
    assert (bench.queue.sent, delivery.is_done) == ([], False)
    await bench.work(bench.delivery())
    assert [topic for topic, _, _ in bench.queue.sent] == [TOPICS.usage, TOPICS.results]
    assert len(bench.gateway.calls) == 1


async def test_of_two_workers_at_once_one_result_stands_and_both_tell_that_one(bench: Bench) -> None:
    gate = asyncio.Barrier(2)

    async def together(call: Call) -> None:
        await gate.wait()

    bench.gateway.behave = together
    another = bench.another.work(bench.delivery())  # type: ignore[arg-type]
    await asyncio.gather(bench.work(bench.delivery()), another)
    assert len(bench.gateway.calls) == 2
    events = bench.queue.bodies(TOPICS.usage)
    assert len(events) == 2
    assert events[0] == events[1]


async def test_an_item_that_one_worker_has_twice_is_asked_once(bench: Bench) -> None:
    deliveries = [bench.delivery() for _ in range(3)]
    await asyncio.gather(*map(bench.work, deliveries))
    assert len(bench.gateway.calls) == 1
    assert all(delivery.is_done for delivery in deliveries)


async def test_the_queue_being_away_holds_the_commit_and_nothing_is_lost(bench: Bench) -> None:
    bench.queue.failures = [UnavailableError("Away.")] * 4
    delivery = bench.delivery()
    await bench.work(delivery)
    assert delivery.is_done
    assert [topic for topic, _, _ in bench.queue.sent] == [TOPICS.usage, TOPICS.results]


async def test_a_large_item_is_read_from_the_store(bench: Bench) -> None:
    queued = bench.queued(1)
    queued.ClearField("item")
    await bench.work(FakeDelivery(Message(queued)))
    result = await bench.result(1)
    assert result is not None
    assert (result.custom_id, result.texts) == ("my-1", ["1 noitseuq"])


@pytest.mark.parametrize("index", [2, 1_000_000])
async def test_an_item_that_no_job_has_is_dropped(bench: Bench, index: int) -> None:
    queued = bench.queued(index)
    queued.ClearField("item")
    delivery = FakeDelivery(Message(queued))
    await bench.work(delivery)
    assert (bench.gateway.calls, bench.queue.sent, delivery.is_done) == ([], [], True)


async def test_a_job_that_was_removed_is_dropped(bench: Bench) -> None:
    await bench.records.forget(TENANT, bench.record.job.id)
    queued = bench.queued(1)
    queued.ClearField("item")
    await bench.work(FakeDelivery(Message(queued)))
    assert (bench.gateway.calls, bench.queue.sent) == ([], [])


async def test_cancelled_and_expired_items_do_not_begin(bench: Bench) -> None:
    expired = bench.delivery()
    assert expired.what
    expired.what.body.deadline.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))  # type: ignore[union-attr]
    await bench.work(expired)
    await bench.records.cancel(TENANT, bench.record.job.id)
    cancelled = bench.delivery(1)
    await bench.work(cancelled)
    assert (expired.is_done, cancelled.is_done) == (True, True)
    assert (bench.gateway.calls, bench.queue.sent) == ([], [])
    assert await bench.result(0) is None
    assert await bench.result(1) is None


async def test_what_was_taken_away_before_it_began_is_left_to_others(bench: Bench) -> None:
    delivery = replace(bench.delivery(), is_revoked=True)
    await bench.work(delivery)
    assert (bench.gateway.calls, bench.queue.sent) == ([], [])
    assert delivery.is_done  # the worker has room for another; nobody commits what is not his


@pytest.mark.parametrize(("attempts", "topic", "delay_s"), [(0, TOPICS.retry_5s, 5.0)])
async def test_a_failure_is_put_back_with_its_history(bench: Bench, attempts: int, topic: str, delay_s: float) -> None:
    bench.gateway.behave = failing(InternalError("Oh."))
    delivery = bench.delivery(attempts=attempts)
    await bench.work(delivery)
    message, now = bench.queue.only(topic), datetime.now(UTC)
    history = message.history
    assert delivery.what
    assert message.body == delivery.what.body
    assert (history.attempts, history.error_code, history.origin) == (attempts + 1, "INTERNAL", HERE)
    assert history.first_failure_time
    assert history.not_before
    assert abs((history.not_before - history.first_failure_time).total_seconds() - delay_s) < 1
    assert abs((now - history.first_failure_time).total_seconds()) < 30
    assert await bench.result() is None
    assert delivery.is_done


async def test_history_goes_back_to_the_first_failure(bench: Bench) -> None:
    bench.gateway.behave = failing(InternalError("Oh."))
    first, since = Origin("trichord.requests.low", 1, 2), datetime(2026, 1, 1, tzinfo=UTC)
    await bench.work(bench.delivery(attempts=1, origin=first, first_failure_time=since))
    history = bench.queue.only(TOPICS.retry_5s).history
    assert (history.attempts, history.origin, history.first_failure_time) == (2, first, since)


async def test_an_item_given_up_has_a_result_and_a_dead_letter(bench: Bench) -> None:
    bench.gateway.behave = failing(RequestError("No such part.", field="messages[0].parts[0]"))
    delivery = bench.delivery(attempts=1)
    await bench.work(delivery)
    result, letter = await bench.result(), bench.queue.only(TOPICS.dead_letters)
    assert result is not None
    assert (result.state, result.attempts) == (jobs_pb2.ITEM_STATE_FAILED, 2)
    assert result.error == jobs_pb2.ItemError(
        code="INVALID_ARGUMENT", message="No such part.", field="messages[0].parts[0]", reason="INVALID_REQUEST"
    )
    assert delivery.what
    assert letter.body == delivery.what.body
    assert (letter.history.attempts, letter.history.error_code) == (2, "INVALID_ARGUMENT")
    (told,) = bench.queue.bodies(TOPICS.results)
    assert told.state == jobs_pb2.ITEM_STATE_FAILED  # type: ignore[attr-defined]
    assert bench.queue.bodies(TOPICS.usage) == []
    assert delivery.is_done


async def test_attempts_end(bench: Bench) -> None:
    bench.gateway.behave = failing(InternalError("Oh."))
    await bench.work(bench.delivery(attempts=2))
    result = await bench.result()
    assert result is not None
    assert (result.state, result.attempts, result.error.code) == (jobs_pb2.ITEM_STATE_FAILED, 3, "INTERNAL")


async def test_an_outage_uses_up_no_attempts(bench: Bench) -> None:
    bench.gateway.behave = failing(UnavailableError("The decoder is away.", retry_after_s=0.0))
    for _ in range(20):
        await bench.work(bench.delivery(attempts=1))
    histories = [message.history.attempts for _, _, message in bench.queue.sent if isinstance(message, Message)]
    assert histories[:8] == [2] * 8
    assert set(histories[9:]) == {1}


async def test_a_full_gateway_is_asked_more_slowly(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waited_s: list[float] = []

    async def sleep(seconds: float) -> None:
        waited_s.append(seconds)

    monkeypatch.setattr("job_worker.worker.asyncio.sleep", sleep)
    bench.gateway.behave = failing(OverloadedError("Full.", retry_after_s=2.0))
    await bench.worker.work(bench.delivery())  # type: ignore[arg-type]
    assert 2.0 in waited_s
    assert bench.queue.only(TOPICS.retry_5s).history.attempts == 0


async def test_an_item_that_expires_while_it_is_asked_for_has_no_end_from_here(bench: Bench) -> None:
    bench.gateway.behave = forever
    delivery = bench.delivery()
    assert delivery.what
    delivery.what.body.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=0.3))  # type: ignore[union-attr]
    await bench.work(delivery)
    assert (bench.queue.sent, await bench.result(), delivery.is_done) == ([], None, True)


async def test_a_message_that_is_none_is_put_aside_as_it_came(bench: Bench) -> None:
    delivery = FakeDelivery(None)
    await bench.work(delivery)
    assert bench.queue.sent == [(TOPICS.dead_letters, "key", NONSENSE)]
    assert delivery.is_done


def _broken(queued: jobs_pb2.QueuedItem) -> Sequence[jobs_pb2.QueuedItem]:
    changes = [{"job_id": "../../etc"}, {"tenant": ""}, {"tenant": "ä"}, {"tenant": "a\r\nb"}, {"index": -1}]
    broken = []
    for change in changes:
        broken.append(jobs_pb2.QueuedItem())
        broken[-1].CopyFrom(queued)
        for name, value in change.items():
            setattr(broken[-1], name, value)
    return broken


async def test_items_that_name_nothing_sensible_are_put_aside(bench: Bench) -> None:
    for queued in _broken(bench.queued()):
        await bench.work(FakeDelivery(Message(queued)))
    await bench.work(FakeDelivery(Message(jobs_pb2.UsageEvent())))
    assert [topic for topic, _, _ in bench.queue.sent] == [TOPICS.dead_letters] * 6
    assert bench.gateway.calls == []


def _break(object_: Path) -> None:
    assert object_.exists()
    object_.write_bytes(b"\xff" * 20)


async def test_a_broken_object_stops_nobody_else(bench: Bench, tmp_path: Path) -> None:
    record = bench.record
    _break(tmp_path / "store" / layout.pack(TENANT, record.job.id, record.upload, 0))
    queued = bench.queued()
    queued.ClearField("item")
    broken = FakeDelivery(Message(queued))
    await bench.work(broken)
    assert bench.queue.sent == [(TOPICS.dead_letters, "key", NONSENSE)]
    assert broken.is_done
    await bench.work(bench.delivery(1))
    assert await bench.result(1)


async def test_a_torn_result_is_made_anew(bench: Bench, tmp_path: Path) -> None:
    await bench.work(bench.delivery())
    _break(tmp_path / "store" / layout.result(TENANT, bench.record.job.id, 0))
    await bench.work(bench.delivery())
    result = await bench.result()
    assert result is not None
    assert result.texts == ["0 noitseuq"]


async def test_a_bug_is_an_attempt_and_says_nothing_of_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(bench.worker._caller, "answer", broken)
    await bench.work(bench.delivery(attempts=2))
    result = await bench.result()
    assert result is not None
    assert result.error.code == "INTERNAL"
    assert "secret" not in result.error.message


async def test_no_more_items_run_than_settings_allow(bench: Bench) -> None:
    job = await keep(bench.records, [item(index) for index in range(12)])
    bench.record = job

    async def slow(call: Call) -> None:
        await asyncio.sleep(0.02)

    bench.gateway.behave = slow
    await asyncio.gather(*(bench.work(bench.delivery(index)) for index in range(12)))
    assert len(bench.gateway.calls) == 12
    assert bench.gateway.most_running == 4


async def test_the_span_of_an_item_is_linked_to_its_submission_and_around_its_call(
    bench: Bench, recorded_spans: RecordedSpans
) -> None:
    await bench.work(bench.delivery())
    process = recorded_spans.one(f"process {HERE.topic}")
    (link,) = process.links
    assert f"{link.context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert process.parent is None
    (call,) = bench.gateway.calls
    assert f"{process.context.trace_id:032x}" in call.headers["traceparent"]
    assert process.attributes
    assert process.attributes["messaging.destination.name"] == HERE.topic


async def test_nothing_that_was_said_is_in_the_log_or_the_spans(
    bench: Bench, recorded_spans: RecordedSpans, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = jobs_pb2.JobItem(
        custom_id="c",
        request=gateway_pb2.ChatRequest(messages=[gateway_pb2.Message(parts=[gateway_pb2.Part(text="XyZZy")])]),
    )
    bench.record = await keep(bench.records, [secret])
    queued = bench.queued()
    queued.item.CopyFrom(secret)
    bench.gateway.behave = failing(NotFoundError("No model."), times=1)
    await bench.work(FakeDelivery(Message(queued)))
    told = capsys.readouterr()
    everything = told.out + told.err + "".join(span.to_json() for span in recorded_spans.ended)
    assert f"{bench.record.job.id}-0" in everything
    assert "XyZZy" not in everything
    assert "yZZyX" not in everything


def test_the_delays_are_those_of_the_topics() -> None:
    assert (TOPICS.retry_5s, TOPICS.retry_60s) == (
        f"trichord.requests.retry.{verdict.SOON_S:.0f}s",
        f"trichord.requests.retry.{verdict.LATER_S:.0f}s",
    )
