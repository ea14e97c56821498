"""Scales Deployments by their scale subresource, and only while this process holds the Lease.

Two fences keep a write of one who lost the Lease from counting. No write starts unless the Lease is sure to be held for
as long as the write may take. And each carries the version of the object that the decision was made for: if anyone has
written since (a new leader, a person, an HPA), the API refuses it. Replicas are listed anew at each turn, from the
API server's cache: there is no watch whose gaps could hide a change, and a picture that is too old only makes a write
be refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from autoscaler.actuator import SERVICES, Replicas
from autoscaler.direct import events
from autoscaler.direct.api import TIMEOUT_S, Api
from autoscaler.direct.backoff import Backoff
from autoscaler.direct.lease import Lease
from trichord.demand import Demand, Modality
from trichord.errors import ConflictError, ForbiddenError, NotFoundError, RequestError, TrichordError, UnavailableError

log = structlog.get_logger(__name__)

MAX_TRIES = 3
"""Of one write that meets another's: each time the object is read anew."""
_LASTING = (ForbiddenError, NotFoundError, RequestError, UnavailableError)
"""Failures that the next turn would most likely meet again."""


class Deployments:
    """See Actuator and the module."""

    def __init__(self, api: Api, lease: Lease, prefix: str) -> None:
        self._api, self._lease = api, lease
        self._names = {modality: f"{prefix}{service}" for modality, service in SERVICES.items()}
        self._uids: dict[str, str] = {}
        self._listing = Backoff()
        self._scaling = {modality: Backoff() for modality in SERVICES}
        self._renewing = asyncio.create_task(lease.run(), name="renew the lease")

    async def replicas(self, demands: Mapping[Modality, Demand]) -> Mapping[Modality, Replicas]:
        """See Actuator. Raises ForbiddenError too."""
        found = {item.metadata.name: item for item in (await _backing_off(self._listing, self._list)).items}
        self._uids = {name: item.metadata.uid for name, item in found.items()}
        return {modality: _replicas(found[name]) for modality, name in self._names.items() if name in found}

    async def scale(self, modality: Modality, seen: Replicas, replicas: int, reason: str) -> bool:
        """See Actuator. Does nothing on a process that stands by."""
        if not self._lease.remaining_s:
            return False
        name = self._names[modality]
        await _backing_off(self._scaling[modality], lambda: self._scale(name, seen.desired, replicas))
        await events.tell(self._api, name, self._uids.get(name), seen.desired, replicas, reason)
        return True

    async def close(self) -> None:
        """See Actuator; gives up the Lease."""
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        try:
            await self._lease.release()
        except TrichordError as error:
            log.warning("the lease is not given up: it runs out", error=error.message)

    async def _list(self) -> Any:
        def cached(namespace: str, _request_timeout: float) -> Any:
            # Version 0 means any: the API server answers from its cache, at hardly a cost.
            return self._api.apps.list_namespaced_deployment(
                namespace, resource_version="0", _request_timeout=_request_timeout
            )

        return await self._api.call("list deployments", cached, self._api.namespace)

    async def _scale(self, name: str, seen: int, replicas: int) -> None:
        read, replace = (
            self._api.apps.read_namespaced_deployment_scale,
            self._api.apps.replace_namespaced_deployment_scale,
        )
        for tries_left in reversed(range(MAX_TRIES)):
            scale = await self._api.call("get deployments/scale", read, name, self._api.namespace)
            now = scale.spec.replicas or 0  # a zero is left out of JSON
            if now != seen:
                raise ConflictError(f"{name} was scaled to {now} by something else, while {seen} were seen.")
            scale.spec.replicas = replicas
            arguments, timeout_s = (name, self._api.namespace, scale), self._fence_s()
            try:
                await self._api.call("update deployments/scale", replace, *arguments, timeout_s=timeout_s)
                return
            except ConflictError:
                if not tries_left:
                    raise

    def _fence_s(self) -> float:
        """Seconds that a write may take. Raises ConflictError if the Lease is not sure to be held."""
        remaining_s = self._lease.remaining_s
        if not remaining_s:
            raise ConflictError("The lease was lost: nothing is written.")
        return min(TIMEOUT_S, remaining_s)


def _replicas(deployment: Any) -> Replicas:
    desired = deployment.spec.replicas
    return Replicas(1 if desired is None else desired, deployment.status.ready_replicas or 0)


async def _backing_off(backoff: Backoff, work: Callable[[], Awaitable[Any]]) -> Any:
    backoff.check()
    try:
        result = await work()
    except _LASTING as error:
        backoff.failed(error)
        raise
    backoff.succeeded()
    return result
