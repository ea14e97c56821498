"""Mouth (c): a local cluster's supervisor, told over HTTP on its unix socket.

``GET /scale`` answers ``{service: {"desired": n, "ready": n, "starting": n}}``, ``POST /scale`` takes
``{"service": name, "replicas": n}``. Only who may open the socket's file can ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from autoscaler.actuator import SERVICES, Replicas
from trichord.demand import Demand, Modality
from trichord.errors import ConflictError, UnavailableError

TIMEOUT_S = 5.0
_URL = "http://supervisor/scale"

_Count = Annotated[int, Field(ge=0, le=1000)]


class _Service(BaseModel):
    desired: _Count
    ready: _Count
    starting: _Count = 0


_STATE = TypeAdapter(dict[str, _Service])


class Supervised:
    """See Actuator; the supervisor that listens on ``socket``."""

    def __init__(self, socket: Path) -> None:
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        self._client = httpx2.AsyncClient(transport=transport, timeout=TIMEOUT_S, trust_env=False)

    async def replicas(self, demands: Mapping[Modality, Demand]) -> Mapping[Modality, Replicas]:
        """See Actuator."""
        response = await self._ask("GET", None)
        try:
            services = _STATE.validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError("The supervisor's answer is not understood.") from error
        return {
            modality: Replicas(services[name].desired, services[name].ready)
            for modality, name in SERVICES.items()
            if name in services
        }

    async def scale(self, modality: Modality, seen: Replicas, replicas: int, reason: str) -> bool:
        """See Actuator."""
        await self._ask("POST", {"service": SERVICES[modality], "replicas": replicas})
        return True

    async def close(self) -> None:
        """See Actuator."""
        await self._client.aclose()

    async def _ask(self, method: str, body: dict[str, Any] | None) -> httpx2.Response:
        try:
            response = await self._client.request(method, _URL, json=body)
        except httpx2.HTTPError as error:
            raise UnavailableError("The supervisor of the local cluster does not answer.") from error
        if response.status_code == httpx2.codes.CONFLICT:
            raise ConflictError("The supervisor is busy with another change. It is tried again.")
        if not response.is_success:
            raise UnavailableError(f"The supervisor refused to scale (HTTP {response.status_code}).")
        return response
