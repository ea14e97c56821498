"""Whether a replica says that it can serve: the standard health check, watched (grpc.health.v1, gRFC A17).

Knows one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

Health = Literal["unknown", "serving", "not_serving", "unreachable"]
"""``unknown`` until something is heard; ``unreachable`` after a watch broke, until the next one is heard."""

MAX_BACKOFF_S = 2.0
"""As the channel's own reconnecting: a replica that came back is seen within seconds."""


async def follow(channel: grpc.aio.Channel, tell: Callable[[Health], None]) -> None:
    """Tells every change, until cancelled; a watch that breaks is begun again with growing pauses."""
    # Ends only when a watch that had been heard breaks: pauses are short again then.
    while True:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(grpc.aio.AioRpcError),
            wait=wait_random_exponential(multiplier=0.1, max=MAX_BACKOFF_S),
        )
        await retrying(_heard, channel, tell)


async def _heard(channel: grpc.aio.Channel, tell: Callable[[Health], None]) -> None:
    """One watch. Returns when it ends after it was heard; raises AioRpcError if it never was."""
    is_heard = False
    try:
        async for response in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            is_heard = True
            tell("serving" if response.status == health_pb2.HealthCheckResponse.SERVING else "not_serving")
        tell("unreachable")
    except grpc.aio.AioRpcError as error:
        # A service without health checks is taken to be well (gRFC A17).
        tell("serving" if error.code() is grpc.StatusCode.UNIMPLEMENTED else "unreachable")
        if not is_heard:
            raise
