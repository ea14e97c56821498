"""Usage events through a real broker, of a process that was killed while the queue was away and of its successor."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from tests.broker_lab import Broker
from tests.conftest import free_ports
from trichord.jobs.message import body_as, decode
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics, ensure_topics
from trichord.jobs.usage.opening import reporting
from trichord.jobs.usage.settings import UsageSettings
from trichord.v1 import jobs_pb2

SOON_S = 60

REPORT_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from trichord.jobs.settings import JobsSettings
from trichord.jobs.usage.opening import reporting
from trichord.jobs.usage.settings import UsageSettings
from trichord.v1 import jobs_pb2

async def main(kafka, spool):
    async with reporting(JobsSettings(kafka=kafka), UsageSettings(spool=spool)) as report:
        for number in range(50):
            report(jobs_pb2.UsageEvent(id=str(number), tenant="acme"))
        while sum(file.read_text().count("\\n") for file in Path(spool).glob("*.log")) < 50:
            await asyncio.sleep(0.01)
        print("kept", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


def killed_while_the_queue_is_away(broker: Broker, spool: Path) -> None:
    """Reports 50 events and is killed once they are on disk."""
    argv = [sys.executable, "-c", REPORT_UNTIL_KILLED, broker.address, str(spool)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"kept\n"
        process.kill()


def read(settings: JobsSettings, number: int) -> list[jobs_pb2.UsageEvent]:
    """The first events of the topic, in its order: all are one tenant's, and so in one partition."""
    topic, deadline_s = Topics(settings).usage, time.monotonic() + SOON_S
    events: list[jobs_pb2.UsageEvent] = []
    with contextlib.closing(KafkaConsumer(bootstrap_servers=[settings.kafka], enable_auto_commit=False)) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)])
        consumer.seek_to_beginning()
        while len(events) < number and time.monotonic() < deadline_s:
            for records in consumer.poll(200).values():
                events += [body_as(decode(record.value, record.headers), jobs_pb2.UsageEvent) for record in records]
    return events


async def test_what_a_killed_process_left_is_sent_before_what_is_new(tmp_path: Path) -> None:
    broker = Broker(free_ports(1))
    settings = JobsSettings(kafka=broker.address, send_timeout_s=5)
    await asyncio.to_thread(killed_while_the_queue_is_away, broker, tmp_path)
    broker.start()
    try:
        await asyncio.to_thread(ensure_topics, settings)
        async with reporting(settings, UsageSettings(spool=tmp_path)) as report:
            for number in range(50, 60):
                report(jobs_pb2.UsageEvent(id=str(number), tenant="acme"))
            events = await asyncio.to_thread(read, settings, 60)
    finally:
        broker.stop()
    assert [event.id for event in events] == [str(number) for number in range(60)]
    assert {event.tenant for event in events} == {"acme"}
