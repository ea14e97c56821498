"""What one gateway knows of one modality at one moment: the signal that replicas are scaled by.

Every gateway publishes its demands each second into the state Redis; who scales reads them all and merges them. A
gateway that is silent for ``TTL_MS`` is forgotten. Ages are told by Redis's clock alone, so that no clock need agree
with another's. A request that waits for a modality with no replica is told of at once, by a notice (``wake``). Knows
nothing of how replicas are decided or made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final, Literal, get_args

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trichord.redis_link import RedisLink
from trichord.redis_script import RedisScript

log = structlog.get_logger(__name__)

Modality = Literal["vision", "audio", "decoder", "gateway", "worker"]
MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)

UNITS: Final[dict[Modality, str]] = {
    "vision": "tiles",
    "audio": "audio-seconds",
    "decoder": "tokens",
    "gateway": "requests",
    "worker": "items",
}
"""What a modality's costs are counted in; a decoder's tokens are those of prompt and output together. Workers are of no
one modality: they take items of jobs out of the queue, and are scaled as modalities are."""

SHARED: Final = frozenset[Modality]({"worker"})
"""Those whose work no gateway has to itself: each tells of the queue that all see, and the most that one saw counts."""

TTL_MS = 10_000
"""Milliseconds that a report is believed: nine in a row may be lost on the way."""
MAX_REPORT_BYTES = 4096
"""Five demands of ten numbers are less than 3 KiB."""
WAKE_CHANNEL = "trichord:demand:wake"

_KEY = "trichord:demand"
_VERSION: Final = 1

_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Demand(BaseModel):
    """What is known of one modality; all costs are in its unit (``UNITS``)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    modality: Modality
    queued_cost: _Amount = 0.0
    """Of work that waits, with what is held while the modality sleeps."""
    running_cost: _Amount = 0.0
    """Of work that was sent to a replica and is not done."""
    arrived_cost_per_s: _Amount = 0.0
    """Of work that came, a second, lately (over some ten seconds)."""
    served_cost_per_s_per_replica: _Amount | None = None
    """What one replica does in a second while it is busy, whoever sent it; None while nothing was measured."""
    queue_p95_ms: _Amount = 0.0
    """95th percentile of the milliseconds that lately started work had waited; of jobs, the age of the oldest."""
    kv_use: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Used share of the decoders' KV cache; 0 for the other modalities."""
    num_held: _Count = 0
    """Requests that wait for a modality without a ready replica."""
    num_ready_replicas: _Count = 0
    """As this gateway sees them."""
    at_s: _Amount = 0.0
    """When this was so, in seconds of the holder's clock: a reader finds it changed to its own."""


class _Report(BaseModel):
    version: Literal[1] = _VERSION
    demands: Annotated[tuple[Demand, ...], Field(max_length=len(MODALITIES))]


def encode(demands: Iterable[Demand]) -> bytes:
    """One gateway's demands as JSON, at most one for each modality."""
    return _Report(demands=tuple(demands)).model_dump_json().encode()


def decode(report: bytes) -> tuple[Demand, ...]:
    """What was encoded; nothing of a report that is too long, of another version, or broken."""
    if len(report) > MAX_REPORT_BYTES:
        log.warning("demand report refused", reason="too long", num_bytes=len(report))
        return ()
    try:
        return _Report.model_validate_json(report).demands
    except ValidationError as error:
        log.warning("demand report refused", reason="broken or of another version", num_faults=error.error_count())
        return ()


def merge(demands: Iterable[Demand]) -> dict[Modality, Demand]:
    """What several gateways know together, by modality; modalities that none told of are missing.

    Work adds up, but for what is shared. Waiting times and KV use are the worst seen. The rate of a replica is the
    mean of those measured, each weighted by the work that came to its gateway. The time is the newest: what is too
    old was never read.
    """
    by_modality: dict[Modality, list[Demand]] = {}
    for demand in demands:
        by_modality.setdefault(demand.modality, []).append(demand)
    return {modality: _merged(modality, seen) for modality, seen in by_modality.items()}


def _merged(modality: Modality, seen: Sequence[Demand]) -> Demand:
    together: Callable[[Iterable[float]], float] = max if modality in SHARED else sum
    # Not validated: sums of what is within bounds may be beyond them.
    return Demand.model_construct(
        modality=modality,
        queued_cost=together(demand.queued_cost for demand in seen),
        running_cost=together(demand.running_cost for demand in seen),
        arrived_cost_per_s=together(demand.arrived_cost_per_s for demand in seen),
        served_cost_per_s_per_replica=_mean_rate(seen),
        queue_p95_ms=max(demand.queue_p95_ms for demand in seen),
        kv_use=max(demand.kv_use for demand in seen),
        num_held=sum(demand.num_held for demand in seen),
        num_ready_replicas=max(demand.num_ready_replicas for demand in seen),
        at_s=max(demand.at_s for demand in seen),
    )


def _mean_rate(seen: Sequence[Demand]) -> float | None:
    measured = [
        (demand.served_cost_per_s_per_replica, demand.arrived_cost_per_s)
        for demand in seen
        if demand.served_cost_per_s_per_replica is not None
    ]
    if not measured:
        return None
    weight = sum(arrived for _, arrived in measured)
    if not weight:
        return sum(rate for rate, _ in measured) / len(measured)
    mean = sum(rate * (arrived / weight) for rate, arrived in measured)
    rates = [rate for rate, _ in measured]
    return min(max(mean, min(rates)), max(rates))  # rounding, and what is too small for a float, included


_PUBLISH = RedisScript("""
local now = redis.call('TIME')
local now_ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], ARGV[1], now_ms .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""")

_READ = RedisScript("""
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local reports, fresh = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #reports, 2 do
  local at_ms, report = string.match(reports[i + 1], '^(%d+) (.*)$')
  local age_ms = now_ms - (tonumber(at_ms) or 0)
  if age_ms > tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], reports[i])
  else
    table.insert(fresh, math.max(age_ms, 0))
    table.insert(fresh, report)
  end
end
return fresh
""")


async def publish(link: RedisLink, gateway_id: str, demands: Iterable[Demand]) -> None:
    """Replaces what this gateway told before. Raises RedisAwayError and OverloadedError as the link does."""
    report = encode(demands)
    await link.run(lambda redis: _PUBLISH(redis, [_KEY], [gateway_id, report, TTL_MS]), "demand publish")


async def read_all(link: RedisLink, now_s: float) -> tuple[Demand, ...]:
    """What every gateway told that still lives; ``at_s`` is on the clock that shows ``now_s``.

    Empty if no gateway is heard of, which is not the same as no demand. Raises as the link does.
    """
    reply: list[int | bytes] = await link.run(lambda redis: _READ(redis, [_KEY], [TTL_MS]), "demand read")
    demands: list[Demand] = []
    for age_ms, report in zip(reply[::2], reply[1::2], strict=True):
        assert isinstance(age_ms, int), "the script answers pairs of an age and a report"
        assert isinstance(report, bytes), "the script answers pairs of an age and a report"
        at_s = max(0.0, now_s - age_ms / 1e3)
        demands.extend(demand.model_copy(update={"at_s": at_s}) for demand in decode(report))
    return tuple(demands)


async def wake(link: RedisLink, modality: Modality) -> None:
    """Tells all who listen that a request waits for a modality that has no replica. Raises as the link does.

    It counts even if no report tells of the request yet. It may be lost; ``Demand.num_held`` says the same at the next
    publishing.
    """
    await link.run(lambda redis: redis.publish(WAKE_CHANNEL, modality), "demand wake")
