"""Budgets in Redis, shared by all gateways: one script, atomic over all budgets of a tenant (bucket.lua).

Knows nothing of what happens while Redis is away: it raises what the link raises.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from gateway.admission.cost import Amounts, Cost
from gateway.admission.limiter import Reservation
from gateway.admission.verdict import Verdict
from trichord.redis_link import RedisLink
from trichord.redis_script import Argument, RedisScript

SCRIPT = RedisScript(Path(__file__).with_name("bucket.lua").read_text())


def keys(tenant: str) -> tuple[str, str]:
    """Where a tenant's budgets and slots lie: in one hash slot of a Redis Cluster, whatever the tenant is called."""
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:32]
    return f"trichord:admission:{{{digest}}}:budgets", f"trichord:admission:{{{digest}}}:slots"


class RedisLimiter:
    """See Limiter."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def reserve(self, reservation: Reservation) -> Verdict:
        """See Limiter."""
        reply = await self._run("reserve", reservation, reservation.cost.amounts())
        return Verdict.from_reply(reservation.plan, reply)

    async def settle(self, reservation: Reservation, actual: Cost) -> bool:
        """See Limiter."""
        return await self._run("settle", reservation, reservation.cost.credit(actual)) == [1]

    async def _run(
        self, operation: Literal["reserve", "settle"], reservation: Reservation, amounts: Amounts
    ) -> list[int]:
        plan = reservation.plan
        pairs: list[int] = [figure for pair in zip(plan.limits(), amounts, strict=True) for figure in pair]
        arguments: list[Argument] = [operation, reservation.id, reservation.lease_ms, plan.concurrency, *pairs]
        reply: list[int] = await self._link.run(
            lambda redis: SCRIPT(redis, keys(reservation.tenant), arguments), f"budgets {operation}"
        )
        return reply
