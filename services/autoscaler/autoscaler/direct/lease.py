"""Which one of several autoscalers acts: the one that holds a Lease (coordination.k8s.io/v1) and knows that it does.

The rules are those of Kubernetes' own components. Who does not hold it watches: when the record has not changed for
the Lease's duration, by the watcher's own clock, it may be taken; times written by others are never compared with a
clock. Who holds it is sure of it for two thirds of the duration since it last asked for a renewal that succeeded, and
stops there, before any other may begin. A Lease tells who may act; that a write of one who overslept changes nothing is
for the write to ensure (deployments.py).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from kubernetes import client

from autoscaler.direct.api import Api
from trichord.errors import ConflictError, NotFoundError, TrichordError

log = structlog.get_logger(__name__)

SURE = 2 / 3
"""Share of the duration that the holder relies on; it renews twice in that time."""
_RENEWALS = 3


class Lease:
    """The part that one process has in the election for the Lease ``name``."""

    def __init__(
        self, api: Api, name: str, identity: str, duration_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._name, self._duration_s, self._clock = api, name, duration_s, clock
        # A container that restarts keeps its pod's name, and must not take its predecessor's Lease for its own.
        self.identity = f"{identity}_{uuid.uuid4().hex[:8]}"
        self._held_until_s = float("-inf")
        self._seen: tuple[Any, ...] = ()
        self._seen_at_s = float("-inf")

    @property
    def remaining_s(self) -> float:
        """Seconds for which no other can hold it; 0 if another may."""
        return max(0.0, self._held_until_s - self._clock())

    async def run(self) -> None:
        """Asks for it, or for its renewal, until cancelled."""
        while True:
            was_held = self.remaining_s > 0
            try:
                await self.ask()
            except TrichordError as error:
                log.warning("the lease cannot be asked for", error=error.message)
            if was_held != (self.remaining_s > 0):
                log.info("leading" if self.remaining_s else "standing by", lease=self._name, identity=self.identity)
            await asyncio.sleep(self._duration_s * SURE / _RENEWALS)

    async def ask(self) -> None:
        """Renews it or takes it if that is allowed. What fails leaves what is held to run out. Raises TrichordError."""
        asked_s = self._clock()
        try:
            if await self._write():
                self._held_until_s = asked_s + self._duration_s * SURE
            else:
                self._held_until_s = float("-inf")
        except ConflictError:
            self._held_until_s = float("-inf")  # another was faster

    async def release(self) -> None:
        """Gives it up if it is held, so that another need not wait. Raises TrichordError."""
        held = self.remaining_s > 0
        self._held_until_s = float("-inf")
        if held:
            lease = await self._read()
            if lease.spec.holder_identity == self.identity:
                lease.spec.holder_identity = ""
                await self._replace(lease)

    async def _write(self) -> bool:
        """Whether it is this process's now."""
        try:
            lease = await self._read()
        except NotFoundError:
            await self._create()
            return True
        if not self._may_take(lease.spec):
            return False
        self._sign(lease.spec)
        await self._replace(lease)
        return True

    def _may_take(self, spec: Any) -> bool:
        if spec.holder_identity in (self.identity, "", None):
            return True
        record = (spec.holder_identity, spec.renew_time, spec.lease_transitions)
        if record != self._seen:
            self._seen, self._seen_at_s = record, self._clock()
        return self._clock() >= self._seen_at_s + (spec.lease_duration_seconds or self._duration_s)

    def _sign(self, spec: Any) -> None:
        now = datetime.now(UTC)
        if spec.holder_identity != self.identity:
            spec.acquire_time, spec.lease_transitions = now, (spec.lease_transitions or 0) + 1
        spec.holder_identity, spec.renew_time = self.identity, now
        spec.lease_duration_seconds = round(self._duration_s)

    async def _create(self) -> None:
        spec = client.V1LeaseSpec()
        self._sign(spec)
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=self._name), spec=spec)
        create = self._api.coordination.create_namespaced_lease
        await self._api.call("create leases", create, self._api.namespace, lease, timeout_s=self._timeout_s)

    async def _read(self) -> Any:
        read = self._api.coordination.read_namespaced_lease
        return await self._api.call("get leases", read, self._name, self._api.namespace, timeout_s=self._timeout_s)

    async def _replace(self, lease: Any) -> None:
        """Carries the version that was read: it fails with ConflictError if somebody wrote meanwhile."""
        replace, namespace = self._api.coordination.replace_namespaced_lease, self._api.namespace
        await self._api.call("update leases", replace, self._name, namespace, lease, timeout_s=self._timeout_s)

    @property
    def _timeout_s(self) -> float:
        return self._duration_s * SURE / _RENEWALS
