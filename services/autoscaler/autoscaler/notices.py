"""Listens for the notice that a request waits for a modality that sleeps (trichord.demand.wake).

Best effort: a notice that is lost is made up for by the next look at the demands. Knows nothing of what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from trichord.demand import MODALITIES, WAKE_CHANNEL, Modality

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0
HEALTH_CHECK_INTERVAL_S = 5
"""Seconds of silence after which the connection is tried: one that was cut off without a word is noticed."""
RECONNECT_S = 1.0


async def listen(url: str, woken: Callable[[Modality], None]) -> None:
    """Calls ``woken`` with the modality of each notice, until cancelled."""
    while True:
        try:
            await _listen_once(url, woken)
        except (RedisError, OSError, ValueError) as error:
            log.warning("notices of sleepers are not heard", error=type(error).__name__, retry_in_s=RECONNECT_S)
        await asyncio.sleep(RECONNECT_S)


async def _listen_once(url: str, woken: Callable[[Modality], None]) -> None:
    client = Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        protocol=2,
        driver_info=None,
    )
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe(WAKE_CHANNEL)
        log.info("listening for notices of sleepers")
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=HEALTH_CHECK_INTERVAL_S)
            modality = message["data"].decode(errors="replace") if message else ""
            if modality in MODALITIES:
                woken(modality)
