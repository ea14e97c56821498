"""Jobs of one gateway on a directory, without a broker and without a model; time is what the test says it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from gateway.conversation import Item, media_places
from gateway.jobs.keeper import Keeper
from gateway.jobs.keeping import Tools
from gateway.jobs.standing import Standing
from gateway.jobs.submission import Submission
from gateway.jobs.turns import Turn
from gateway.settings import GatewaySettings
from trichord.errors import NotFoundError, UnavailableError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Message
from trichord.jobs.objects import ObjectStore, open_store
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2, tensor_pb2

TENANT = "acme"
LIMITS = GatewaySettings(
    vision="x", audio="x", decoder="x", cache_url="redis://x", state_url="redis://x", max_messages=8, max_parts=16
)  # type: ignore[arg-type]
SETTINGS = JobsSettings(store="set", kafka="set", inline_item_bytes=1000, redelivery_s=60)
COMPLETED, FAILED = jobs_pb2.ITEM_STATE_COMPLETED, jobs_pb2.ITEM_STATE_FAILED
CANCELLED, EXPIRED = jobs_pb2.ITEM_STATE_CANCELLED, jobs_pb2.ITEM_STATE_EXPIRED


class Queued(NamedTuple):
    """A message as it was put into the queue."""

    topic: str
    key: str
    item: jobs_pb2.QueuedItem


@dataclass
class MemoryQueue:
    """Holds what was sent until somebody takes it; ``room`` more, and then it is away."""

    messages: list[Queued] = field(default_factory=list)
    room: int = 1_000_000
    empty_since: datetime | None = None

    async def send(self, topic: str, key: str, message: Message) -> None:
        if not self.room:
            raise UnavailableError("The queue does not answer.", retry_after_s=1.0)
        self.room -= 1
        assert isinstance(message.body, jobs_pb2.QueuedItem)
        self.messages.append(Queued(topic, key, message.body))

    def take_all(self) -> list[Queued]:
        taken, self.messages = self.messages, []
        return taken

    def was_empty_after(self, moment: datetime) -> bool:
        return self.empty_since is not None and self.empty_since > moment


@dataclass
class Clock:
    """Stands still unless moved."""

    now: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Handles:
    """Media by handle, and whatever stands in the request itself."""

    def __init__(self) -> None:
        self.media = {
            "media-cat": (tensor_pb2.MODALITY_IMAGE, b"cat"),
            "media-bell": (tensor_pb2.MODALITY_AUDIO, b"bell"),
        }

    async def items(self, request: gateway_pb2.ChatRequest, tenant: str) -> list[Item]:
        found = []
        for place in media_places(request):
            modality, content = tensor_pb2.MODALITY_IMAGE, b"inline"
            if handle := place.part.media_handle:
                if handle not in self.media:
                    raise NotFoundError("There is no such handle.", field=place.field)
                modality, content = self.media[handle]
            found.append(Item.at(place, modality, content))
        return found


class JobsLab:
    """A gateway's jobs; ``restart`` has it forget all that is not in the store."""

    def __init__(self, folder: Path, settings: JobsSettings = SETTINGS) -> None:
        self.settings = settings
        self.clock, self.queue, self.handles = Clock(), MemoryQueue(), Handles()
        self.store: ObjectStore = open_store(str(folder))
        self.records = JobRecords(self.store, settings)
        self.submission = Submission(self.records, self.handles, LIMITS, settings, self.clock)
        self.restart()

    def restart(self) -> None:
        self.standing = Standing(self.records, self.clock.seconds)
        self.keeper = self.other_keeper(self.standing)

    def other_keeper(self, standing: Standing) -> Keeper:
        """Of another gateway, or of this one from now on; its turn begins when the other's has ended."""
        topics = Topics(self.settings)
        queue = self.queue
        tools = Tools(self.records, standing, queue, topics, queue.was_empty_after, self.settings, self.clock)
        return Keeper(tools, self.store, Turn(self.store, self.clock, "jobs"))

    async def submit(self, items: Iterable[jobs_pb2.JobItem], **spec: object) -> jobs_pb2.JobRecord:
        return await self.submission.submit(TENANT, jobs_pb2.JobSpec(**spec), each(items))  # type: ignore[arg-type]

    async def job(self, record: jobs_pb2.JobRecord) -> jobs_pb2.Job:
        """As it is once everything is looked at."""
        self.clock.move(1)
        return await self.standing.job(record.tenant, record.job.id)

    async def round(self, seconds: float = 1.0) -> None:
        """What the keeper does, so much later."""
        self.clock.move(seconds)
        await self.keeper.round()

    async def work(self, *queued: Queued, state: jobs_pb2.ItemState = COMPLETED) -> None:
        """What a worker does with messages: answers them, unless they are answered."""
        for _, _, item in queued:
            await self.records.put_result(item.tenant, item.job_id, result(item.index, state))


async def each(items: Iterable[jobs_pb2.JobItem]) -> AsyncIterator[jobs_pb2.JobItem]:
    for item in items:
        yield item


def job_items(count: int, text: str = "hi") -> list[jobs_pb2.JobItem]:
    return [job_item(f"item-{index}", gateway_pb2.Part(text=f"{text} {index}")) for index in range(count)]


def job_item(custom_id: str, *parts: gateway_pb2.Part, **request: object) -> jobs_pb2.JobItem:
    message = gateway_pb2.Message(role=decoder_pb2.ROLE_USER, parts=parts)
    return jobs_pb2.JobItem(custom_id=custom_id, request=gateway_pb2.ChatRequest(messages=[message], **request))  # type: ignore[arg-type]


def result(index: int, state: jobs_pb2.ItemState = COMPLETED, text: str = "ok") -> jobs_pb2.ItemResult:
    finished = gateway_pb2.ChatFinished(
        usage=gateway_pb2.Usage(
            completion_tokens=3, prompt_tokens=decoder_pb2.PromptTokens(text=5, image=index), audio_seconds=0.5
        )
    )
    ended = jobs_pb2.ItemResult(index=index, custom_id=f"item-{index}", state=state, attempts=1)
    if state == COMPLETED:
        ended.texts.append(text)
        ended.finished.CopyFrom(finished)
    return ended


def indices(queued: Iterable[Queued]) -> list[int]:
    return [one.item.index for one in queued]


def counts(job: jobs_pb2.Job) -> dict[str, int]:
    return {field.name: value for field, value in job.counts.ListFields()}
