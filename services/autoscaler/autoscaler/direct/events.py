"""An Event on a Deployment that was scaled: ``kubectl describe`` then says why. Best effort; knows no policy."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import structlog
from kubernetes import client

from autoscaler.direct.api import Api
from trichord.errors import TrichordError

log = structlog.get_logger(__name__)

COMPONENT = "trichord-autoscaler"
MAX_MESSAGE = 1024
"""Characters: what the API takes."""


async def tell(api: Api, name: str, uid: str | None, before: int, after: int, message: str) -> None:
    """Writes the Event; one that cannot be written is only logged: the scaling is done."""
    event = _event(api.namespace, name, uid, before, after, message)
    try:
        await api.call("create events", api.core.create_namespaced_event, api.namespace, event)
    except TrichordError as error:
        log.warning("no event was written", deployment=name, error=error.message)


def _event(namespace: str, name: str, uid: str | None, before: int, after: int, message: str) -> client.CoreV1Event:
    now = datetime.now(UTC)
    deployment = client.V1ObjectReference(
        api_version="apps/v1", kind="Deployment", name=name, namespace=namespace, uid=uid
    )
    return client.CoreV1Event(
        metadata=client.V1ObjectMeta(name=f"{name}.{uuid.uuid4().hex[:16]}", namespace=namespace),
        involved_object=deployment,
        reason=_reason(before, after),
        message=message[:MAX_MESSAGE],
        type="Normal",
        source=client.V1EventSource(component=COMPONENT),
        first_timestamp=now,
        last_timestamp=now,
        count=1,
    )


def _reason(before: int, after: int) -> str:
    if not before:
        return "Woken"
    if not after:
        return "FellAsleep"
    return "ScaledUp" if after > before else "ScaledDown"
