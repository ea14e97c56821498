"""Who is next, and what may be committed: against a plain count of what is done."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord.errors import RequestError
from trichord.jobs.intake import Delivery, Intake, Record
from trichord.jobs.message import Encoded, History, Message, Origin, encode
from trichord.v1 import jobs_pb2

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def record(offset: int, topic: str = "low", partition: int = 0, not_before: datetime | None = None) -> Record:
    message = Message(jobs_pb2.QueuedItem(index=offset), History(not_before=not_before))
    return Record(Origin(topic, partition, offset), "key", NOW, encode(message))


def intake(max_in_progress: int = 100, partitions: int = 1) -> Intake:
    made = Intake(["retry", "high", "low"], max_in_progress)
    made.assign((topic, partition) for topic in ("retry", "high", "low") for partition in range(partitions))
    return made


def take_all(made: Intake, now: datetime = NOW) -> list[Delivery]:
    return list(iter(lambda: made.take(now), None))


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_what_is_committed_is_done_with_all_before_it(count: int, chance: random.Random) -> None:
    made = intake()
    made.add(record(offset) for offset in range(count))
    deliveries = take_all(made)
    assert [delivery.origin.offset for delivery in deliveries] == list(range(count))
    done, committed = set[int](), 0
    for delivery in chance.sample(deliveries, count):
        delivery.done()
        delivery.done()
        done.add(delivery.origin.offset)
        contiguous = next(n for n in range(count + 1) if n not in done)
        expected = {("low", 0): contiguous} if contiguous > committed else {}
        assert made.positions() == expected
        if chance.random() < 0.5:  # brokers heard it
            made.committed(made.positions())
            committed = contiguous
    assert made.positions() == ({("low", 0): count} if committed < count else {})


def test_offsets_may_have_gaps() -> None:
    made = intake()
    made.add(record(offset) for offset in (5, 9, 12))
    first, second, _ = take_all(made)
    second.done()
    assert made.positions() == {}
    first.done()
    assert made.positions() == {("low", 0): 10}


def test_the_first_topics_go_first() -> None:
    made = intake()
    made.add([record(0, "low"), record(0, "high"), record(1, "high"), record(0, "retry")])
    assert [delivery.origin.topic for delivery in take_all(made)] == ["retry", "high", "high", "low"]


def test_partitions_take_turns() -> None:
    made = intake(partitions=3)
    made.add(record(offset, "low", partition) for partition in range(3) for offset in range(3))
    taken = [(delivery.origin.partition, delivery.origin.offset) for delivery in take_all(made)]
    assert sorted(partition for partition, _ in taken[:3]) == [0, 1, 2]
    assert sorted(taken) == [(partition, offset) for partition in range(3) for offset in range(3)]


def test_no_more_is_handed_out_than_may_be_in_progress() -> None:
    made = intake(max_in_progress=2)
    made.add(record(offset) for offset in range(5))
    first, second = take_all(made)
    assert made.full() == {("low", 0)}
    second.done()
    assert [delivery.origin.offset for delivery in take_all(made)] == [2]
    first.done()
    assert [delivery.origin.offset for delivery in take_all(made)] == [3]
    assert made.full() == set()


def test_what_is_not_due_is_held_back_with_all_behind_it() -> None:
    made = intake(partitions=2)
    soon = NOW + timedelta(seconds=5)
    made.add([record(0, "retry", 0, soon), record(1, "retry", 0), record(0, "retry", 1), record(0, "low")])
    assert [(d.origin.topic, d.origin.partition) for d in take_all(made)] == [("retry", 1), ("low", 0)]
    assert made.next_due() == soon
    assert take_all(made, soon - timedelta(milliseconds=1)) == []
    assert [delivery.origin.offset for delivery in take_all(made, soon)] == [0, 1]
    assert made.next_due() is None


def test_who_may_begin_none_has_no_time_to_wait_for() -> None:
    made = intake(max_in_progress=1)
    made.add([record(0, "retry", 0, NOW), record(1, "retry", 0, NOW)])
    first = made.take(NOW)
    assert first
    assert made.next_due() is None  # or its time would be over again and again
    first.done()
    assert made.next_due() == NOW


def test_a_partition_that_is_revoked_is_forgotten() -> None:
    made = intake(max_in_progress=2)
    made.add(record(offset) for offset in range(5))
    first, second = take_all(made)
    made.revoke([("low", 0), ("low", 7)])
    assert first.is_revoked
    first.done()
    assert made.positions() == {}
    assert take_all(made) == []
    made.assign([("low", 0)])
    made.add([record(0), record(1)])
    assert [delivery.origin.offset for delivery in take_all(made)] == [0]  # the second of before is in progress still
    second.done()
    assert made.positions() == {}  # what was done before says nothing of offsets now
    assert [delivery.origin.offset for delivery in take_all(made)] == [1]
    assert not made.take(NOW)


def test_what_is_of_no_partition_of_ours_is_left_alone() -> None:
    made = intake()
    made.add([record(0, "low", 5)])
    assert take_all(made) == []


def test_assigning_again_changes_nothing() -> None:
    made = intake()
    made.add([record(0), record(1)])
    first = made.take(NOW)
    made.assign([("low", 0)])
    assert first
    first.done()
    assert made.positions() == {("low", 0): 1}
    assert len(take_all(made)) == 1


def test_a_message_that_cannot_be_read_is_handed_out_all_the_same() -> None:
    made = intake()
    poison = Encoded(b"\xff", (("type", b"nonsense"),))
    made.add([Record(Origin("low", 0, 0), "", NOW, poison)])
    delivery = made.take(NOW)
    assert delivery
    assert delivery.raw == poison
    with pytest.raises(RequestError):
        delivery.message()
    delivery.done()
    assert made.positions() == {("low", 0): 1}
