"""Usage events between those who report and the queue: kept first, sent in order, never a burden to who reports."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.metrics_lab import Metrics, own_metrics
from trichord.errors import OverloadedError, SettingsError, UnavailableError
from trichord.jobs.settings import JobsSettings
from trichord.jobs.usage import reporter as reporter_module
from trichord.jobs.usage.opening import reporting
from trichord.jobs.usage.reporter import UsageReporter, unreported
from trichord.jobs.usage.settings import UsageSettings
from trichord.jobs.usage.spool import Spool
from trichord.v1 import jobs_pb2

SOON_S = 20
EVENTS = "trichord_usage_events_total"


class Queue:
    """Takes events, or does not."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.tried: list[str] = []
        self.is_away = self.is_silent = self.is_full = False
        self.refused: set[str] = set()
        self.unanswered: list[Future[None]] = []

    def submit(self, event: jobs_pb2.UsageEvent) -> Future[None]:
        self.tried.append(event.id)
        if self.is_full:
            raise OverloadedError("Too many wait.")
        future: Future[None] = Future()
        if self.is_silent:
            self.unanswered.append(future)
        elif self.is_away or event.id in self.refused:
            future.set_exception(UnavailableError("The queue is away."))
        else:
            self.taken.append(event.id)
            future.set_result(None)
        return future


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(reporter_module, "MAX_DELAY_S", 0.02)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def metrics() -> Metrics:
    return own_metrics()


def event(number: int) -> jobs_pb2.UsageEvent:
    return jobs_pb2.UsageEvent(id=str(number), tenant="acme")


def names(numbers: Sequence[int] | range) -> list[str]:
    return [str(number) for number in numbers]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - it is another thread that brings it about
            await asyncio.sleep(0.005)


async def until_taken(queue: Queue, number: int) -> None:
    await until(lambda: len(queue.taken) >= number)


def waiting(directory: Path) -> list[str]:
    """What is on disk, as another process would find it."""
    spool = Spool(directory, 1 << 20)
    left = [jobs_pb2.UsageEvent.FromString(record).id for record in spool.peek(10**6)]
    spool.close()
    return left


async def test_what_is_reported_is_sent_in_order_and_once(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    for number in range(1000):
        reporter.report(event(number))
    await until_taken(queue, 1000)
    await reporter.close()
    await reporter.close()
    assert queue.taken == names(range(1000))
    assert waiting(tmp_path) == []
    assert metrics.gained(EVENTS, result="sent") == metrics.gained(EVENTS) == 1000


async def test_events_of_many_threads_are_all_sent(queue: Queue, tmp_path: Path) -> None:
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)

    def report(first: int) -> None:
        for number in range(first, first + 200):
            reporter.report(event(number))

    await asyncio.gather(*(asyncio.to_thread(report, first) for first in range(0, 800, 200)))
    await until_taken(queue, 800)
    await reporter.close()
    assert sorted(map(int, queue.taken)) == list(range(800))


async def test_while_the_queue_is_away_they_wait_on_disk_and_go_on_in_order(queue: Queue, tmp_path: Path) -> None:
    queue.is_away = True
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    for number in range(600):
        reporter.report(event(number))
    await until(lambda: queue.tried.count("0") >= 3)
    queue.is_away = False
    reporter.report(event(600))
    await until_taken(queue, 601)
    await reporter.close()
    assert queue.taken == names(range(601))


async def test_what_is_left_at_the_end_is_sent_by_the_next_process_without_a_report(
    queue: Queue, tmp_path: Path
) -> None:
    queue.is_away = True
    first = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    for number in range(10):
        first.report(event(number))
    await first.close()
    assert waiting(tmp_path) == names(range(10))
    queue.is_away = False
    second = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    await until_taken(queue, 10)
    await second.close()
    assert queue.taken == names(range(10))


async def test_a_queue_that_never_answers_holds_up_no_end_and_no_disk(queue: Queue, tmp_path: Path) -> None:
    queue.is_silent = True
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    reporter.report(event(0))
    await until(lambda: bool(queue.tried))
    for number in range(1, 5):
        reporter.report(event(number))
    async with asyncio.timeout(SOON_S):
        await reporter.close()
    assert queue.tried == ["0"]
    assert waiting(tmp_path) == names(range(5))


async def test_waiting_for_an_answer_takes_no_time_of_a_core(queue: Queue, tmp_path: Path) -> None:
    num_turns = 0

    class Counting(Spool):
        def append(self, records: Sequence[bytes]) -> int:
            nonlocal num_turns
            num_turns += 1
            return super().append(records)

    queue.is_away = True
    reporter = UsageReporter(Counting(tmp_path, 1 << 20), queue.submit)
    reporter.report(event(0))
    await until(lambda: len(queue.tried) >= 2)
    queue.is_silent = True
    await until(lambda: bool(queue.unanswered))
    before = num_turns
    await asyncio.sleep(0.2)
    assert num_turns - before <= 2
    await reporter.close()


async def test_one_that_fails_is_sent_again_with_those_after_it(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    queue.is_away = True
    first = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    for number in range(6):
        first.report(event(number))
    await first.close()
    queue.is_away, queue.refused = False, {"2"}
    second = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    await until_taken(queue, 5)
    queue.refused = set()
    await until(lambda: "2" in queue.taken)
    await second.close()
    assert queue.taken[:2] == ["0", "1"]
    first_time = list(dict.fromkeys(queue.taken))  # as a consumer has it that leaves out what comes twice
    assert sorted(first_time) == names(range(6))
    assert queue.taken[-4:] == ["2", "3", "4", "5"]
    assert metrics.gained(EVENTS, result="sent") == len(queue.taken)


async def test_a_queue_that_takes_no_more_is_tried_again(queue: Queue, tmp_path: Path) -> None:
    queue.is_full = True
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    reporter.report(event(0))
    await until(lambda: len(queue.tried) >= 2)
    queue.is_full = False
    await until_taken(queue, 1)
    await reporter.close()
    assert waiting(tmp_path) == []


async def test_a_full_spool_drops_and_counts(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    queue.is_away = True
    reporter = UsageReporter(Spool(tmp_path, 4096), queue.submit)
    for number in range(500):
        reporter.report(event(number))
    await reporter.close()
    left = waiting(tmp_path)
    assert left == names(range(len(left)))
    assert 0 < len(left) < 500
    assert metrics.gained(EVENTS, result="full") == metrics.gained(EVENTS) == 500 - len(left)


async def test_a_disk_that_hangs_holds_up_nobody(
    queue: Queue, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "MAX_FRESH", 3)
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Spool):
        def append(self, records: Sequence[bytes]) -> int:
            if records:
                hangs.set()
                goes_on.wait(SOON_S)
            return super().append(records)

    reporter = UsageReporter(Hanging(tmp_path, 1 << 20), queue.submit)
    reporter.report(event(0))
    await asyncio.to_thread(hangs.wait, SOON_S)
    for number in range(1, 10):
        reporter.report(event(number))
    assert metrics.gained(EVENTS, result="full") == 6
    goes_on.set()
    await until_taken(queue, 4)
    await reporter.close()
    assert queue.taken == names(range(4))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(self: Spool, lines: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_write", fail)
        yield


@pytest.mark.usefixtures("failing")
async def test_a_disk_that_fails_costs_events_and_no_request(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    for number in range(5):
        reporter.report(event(number))
    await reporter.close()
    assert metrics.gained(EVENTS, result="unwritten") == metrics.gained(EVENTS) == 5


async def test_what_the_disk_lost_is_counted(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    spool = Spool(tmp_path, 1 << 20)
    spool.append([event(number).SerializeToString() for number in range(2)])
    spool.close()
    [segment] = tmp_path.glob("*.log")  # noqa: ASYNC240
    segment.write_bytes(b"torn " + segment.read_bytes())
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    await until_taken(queue, 1)
    await reporter.close()
    assert queue.taken == ["1"]
    assert metrics.gained(EVENTS, result="unreadable") == 1


async def test_after_the_end_nothing_is_taken(queue: Queue, tmp_path: Path, metrics: Metrics) -> None:
    reporter = UsageReporter(Spool(tmp_path, 1 << 20), queue.submit)
    await reporter.close()
    reporter.report(event(0))
    assert metrics.gained(EVENTS, result="full") == 1
    assert queue.tried == waiting(tmp_path) == []


async def test_without_a_queue_nothing_is_kept(tmp_path: Path) -> None:
    async with reporting(JobsSettings(), UsageSettings(spool=tmp_path / "spool")) as report:
        assert report is unreported
        report(event(0))
    assert not (tmp_path / "spool").exists()


async def test_a_spool_that_cannot_be_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = JobsSettings(kafka="127.0.0.1:1"), UsageSettings(spool=tmp_path / "file")
    with pytest.raises(SettingsError, match="cannot be a spool"):
        async with reporting(*told):
            pass
