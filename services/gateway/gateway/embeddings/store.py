"""Embeddings by content: found in Redis, shared with whoever asks at the same time, or encoded.

Redis refused, hung, slow, full or lying is a miss: the store then only joins callers of its own process. Knows nothing
of encoders but that one may be called.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import structlog

from gateway.embeddings.counters import StoreCounters
from gateway.embeddings.flights import Flights
from gateway.embeddings.record import CorruptRecordError, Key, Outcome, Sealer, UnfitError
from gateway.embeddings.shared_records import LEASE_S, Claim, SharedRecords
from trichord.errors import DeadlineError, MediaError, OverloadedError, TrichordError
from trichord.redis_link import RedisAwayError, RedisLink
from trichord.telemetry import names, spans
from trichord.v1 import gateway_pb2, tensor_pb2

log = structlog.get_logger(__name__)

T = TypeVar("T")
Encode = Callable[[], Awaitable[tensor_pb2.Embedding]]

ENCODED = gateway_pb2.EMBEDDING_SOURCE_ENCODED
STORE = gateway_pb2.EMBEDDING_SOURCE_STORE
SHARED = gateway_pb2.EMBEDDING_SOURCE_SHARED

_FIRST_POLL_S, _LAST_POLL_S = 0.005, 0.1
_THREAD_BYTES = 512 * 1024
"""Above so many bytes a hash takes long enough (0.5 ms) to be worth a thread, which has its price on busy cores."""


@dataclass(frozen=True)
class StoreLimits:
    """How much is kept, and for how long."""

    max_record_bytes: int = 4 * 1024 * 1024
    """Larger embeddings are not kept: 4 MiB take 34 ms at 1 Gbit/s, of the 50 ms that a command may take."""
    ttl_s: float = 24 * 3600.0
    """How long an embedding is kept, if Redis has the memory."""
    refusal_ttl_s: float = 60.0
    """How long it is known that a medium cannot be decoded."""
    lease_s: float = LEASE_S
    """After so long another process takes over from one that died while it encoded."""
    max_wait_s: float = 10.0
    """How long another process's encode is waited for before the medium is encoded here too."""


class Stored(NamedTuple):
    """An embedding, to be read only: others may have been given the same object."""

    embedding: tensor_pb2.Embedding
    source: gateway_pb2.EmbeddingSource
    store_ms: float
    """Milliseconds in the store: looking, and waiting for another caller's encode; not this caller's own encode."""


class _Found(NamedTuple):
    outcome: Outcome
    source: gateway_pb2.EmbeddingSource
    store_ms: float


class EmbeddingStore:
    """The embeddings of all tenants, each tenant's found by its own requests only.

    ``secret`` is shared by all gateways of a deployment: without it keys cannot be guessed, nor records forged.
    """

    def __init__(self, link: RedisLink, secret: bytes, limits: StoreLimits | None = None) -> None:
        self._limits = limits or StoreLimits()
        self._sealer = Sealer(secret)
        self._records = SharedRecords(link, self._limits.lease_s)
        self._flights = Flights[_Found]()
        self._background: set[asyncio.Task[None]] = set()
        self.counters = StoreCounters()

    async def embedding(
        self,
        tenant: str,
        modality: tensor_pb2.Modality,
        content: bytes,
        fingerprint: str,
        encode: Encode,
        *,
        timeout_s: float,
    ) -> Stored:
        """The embedding of a medium by the encoder that has ``fingerprint``; ``encode`` is called if it must be made.

        Raises DeadlineError after ``timeout_s``, MediaError for a medium that the encoder refuses or has refused, and
        what ``encode`` raises; their field is for the caller to set.
        """
        started = time.perf_counter()
        key = await _aside(len(content), self._sealer.key, tenant, modality, content, fingerprint)
        try:
            async with asyncio.timeout(timeout_s):
                found, led = await self._join(key, encode)
        except TimeoutError as error:
            raise DeadlineError("The request's deadline passed. Allow a longer one.") from error
        source = found.source if led or found.source == STORE else SHARED
        self._count(found.outcome, source)
        if isinstance(found.outcome, MediaError):
            raise MediaError(found.outcome.message)
        store_ms = found.store_ms if led else (time.perf_counter() - started) * 1e3
        return Stored(found.outcome, source, store_ms)

    async def kept(
        self, tenant: str, modality: tensor_pb2.Modality, content: bytes, fingerprints: Iterable[str]
    ) -> Stored | None:
        """The embedding of a medium by an encoder that has one of ``fingerprints``, if it is kept; nothing is encoded.

        Raises MediaError for a medium that such an encoder has refused.
        """
        started = time.perf_counter()
        for fingerprint in fingerprints:
            key = await _aside(len(content), self._sealer.key, tenant, modality, content, fingerprint)
            with spans.span("store lookup") as looking:
                record = await self._tried(self._records.peek(key.digest))
                looking.set_attribute(names.LOOKUP, {None: "error", b"": "miss"}.get(record, "hit"))
            if not record or (outcome := await self._opened(key, record)) is None:
                continue
            self._count(outcome, STORE)
            if isinstance(outcome, MediaError):
                raise outcome
            return Stored(outcome, STORE, (time.perf_counter() - started) * 1e3)
        return None

    async def close(self) -> None:
        """Lets what is being kept be kept."""
        await asyncio.gather(*self._background)

    def _count(self, outcome: Outcome, source: gateway_pb2.EmbeddingSource) -> None:
        if source == ENCODED:
            self.counters.misses += 1
        elif isinstance(outcome, MediaError):
            self.counters.refused += 1
        elif source == STORE:
            self.counters.hits += 1
        else:
            self.counters.shared += 1

    async def _join(self, key: Key, encode: Encode) -> tuple[_Found, bool]:
        while True:
            leads = not self._flights.under_way(key.digest)
            try:
                return await self._flights.join(key.digest, lambda: self._find_or_encode(key, encode))
            except DeadlineError:
                if leads:
                    raise
                # The leader's time was up; ours is not: begin again, perhaps as the leader.
            except TrichordError as error:
                # One error, many callers, each of whom names the part that it is about.
                raise copy.copy(error).at("") from error

    async def _find_or_encode(self, key: Key, encode: Encode) -> _Found:
        started, token = time.perf_counter(), secrets.token_bytes(16)
        found = await self._find(key, token)
        store_ms = (time.perf_counter() - started) * 1e3
        if found:
            return _Found(*found, store_ms)
        return _Found(await self._encode(key, token, encode), ENCODED, store_ms)

    async def _find(self, key: Key, token: bytes) -> tuple[Outcome, gateway_pb2.EmbeddingSource] | None:
        """What is kept, or what another process keeps while we wait. None: ours to encode, under ``token``."""
        with spans.span("store lookup") as looking:
            answer, source = await self._tried(self._records.find(key.digest, token)), STORE
            looking.set_attribute(names.LOOKUP, _lookup(answer))
        if answer == "theirs":
            with spans.span("flight"):
                answer, source = await self._theirs(key, token), SHARED
        if answer in (None, "ours", "theirs"):
            return None
        outcome = await self._opened(key, answer)
        return None if outcome is None else (outcome, source)

    async def _theirs(self, key: Key, token: bytes) -> bytes | Claim | None:
        """What becomes of another gateway's encode; still "theirs" if that takes too long."""
        give_up_at, poll_s = time.monotonic() + self._limits.max_wait_s, _FIRST_POLL_S
        answer: bytes | Claim | None = "theirs"
        while answer == "theirs" and time.monotonic() <= give_up_at:
            await asyncio.sleep(poll_s)
            poll_s = min(poll_s * 1.5, _LAST_POLL_S)
            answer = await self._tried(self._records.find(key.digest, token))
        return answer

    async def _opened(self, key: Key, record: object) -> Outcome | None:
        num_bytes = len(record) if isinstance(record, bytes) else 0
        try:
            return await _aside(num_bytes, self._sealer.open, key, record)
        except CorruptRecordError:
            self.counters.corrupt += 1
            log.warning("threw a corrupt embedding record away", modality=key.modality, num_bytes=num_bytes)
            await self._tried(self._records.discard(key.digest))
            return None

    async def _encode(self, key: Key, token: bytes, encode: Encode) -> Outcome:
        holding = asyncio.create_task(self._records.hold(key.digest, token), name="hold an encode's lease")
        outcome: Outcome
        try:
            outcome = await encode()
        except MediaError as error:
            outcome = MediaError(error.message)
        except BaseException:
            self._afterwards(self._records.release(key.digest, token))
            raise
        finally:
            holding.cancel()
        self._afterwards(self._keep(key, token, outcome))
        return outcome

    async def _keep(self, key: Key, token: bytes, outcome: Outcome) -> None:
        is_refusal = isinstance(outcome, MediaError)
        num_bytes = 0 if isinstance(outcome, MediaError) else len(outcome.values.data)
        try:
            record = await _aside(num_bytes, self._sealer.seal, key, outcome)
        except UnfitError:
            record = b""
        if not record or len(record) > self._limits.max_record_bytes:
            self.counters.unkept += 1
            await self._records.release(key.digest, token)
            return
        ttl_s = self._limits.refusal_ttl_s if is_refusal else self._limits.ttl_s
        await self._records.keep(key.digest, token, record, ttl_s)

    def _afterwards(self, work: Coroutine[Any, Any, object]) -> None:
        """Does what no caller should wait for."""

        async def tried() -> None:
            await self._tried(work)

        task = asyncio.create_task(tried(), name="keep an embedding")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tried(self, work: Awaitable[T]) -> T | None:
        """The result of some work with Redis; None if Redis cannot serve."""
        try:
            return await work
        except (RedisAwayError, OverloadedError):
            self.counters.redis_failures += 1
            return None


def _lookup(answer: bytes | Claim | None) -> str:
    match answer:
        case None:
            return "error"
        case "ours":
            return "miss"
        case "theirs":
            return "flight"
    return "hit"


async def _aside(num_bytes: int, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function, in a thread if it looks at many bytes."""
    return await asyncio.to_thread(function, *arguments) if num_bytes > _THREAD_BYTES else function(*arguments)
