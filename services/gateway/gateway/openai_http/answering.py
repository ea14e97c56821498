"""How the HTTP face gets its answers: the one place here that knows ``gateway.chat``."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from gateway.admission import charges
from gateway.caller import Caller
from gateway.chat import Chat
from gateway.cluster import Cluster
from gateway.deadline import Deadline
from gateway.identity.principal import Principal
from trichord.v1 import decoder_pb2, gateway_pb2


class ServedModel(NamedTuple):
    """What is served."""

    name: str
    context_tokens: int
    max_images: int
    max_audios: int
    fingerprint: str
    """OpenAI's system_fingerprint: changes with what may change answers to the same seed."""


class Core(Protocol):
    """What the HTTP face asks of the gateway behind it."""

    def answer(
        self, request: gateway_pb2.ChatRequest, principal: Principal
    ) -> AsyncGenerator[gateway_pb2.ChatResponse, None]:
        """The events of an answer, as OmniService.Chat orders them. Closing it cancels everything in progress."""

    async def model(self) -> ServedModel:
        """What is served. Raises UnavailableError while the decoder is away."""


class ClusterCore:
    """Answers of the cluster itself."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def answer(
        self, request: gateway_pb2.ChatRequest, principal: Principal
    ) -> AsyncGenerator[gateway_pb2.ChatResponse, None]:
        """See ``Core``."""
        caller = Caller(principal, charges.priority(request.priority, principal.job_id), self._deadline())
        return Chat(self._cluster, request, caller, "http").events()

    async def model(self) -> ServedModel:
        """See ``Core``."""
        return _served(await self._cluster.decoder.model(self._deadline().hop_s()))

    def _deadline(self) -> Deadline:
        return Deadline(self._cluster.settings.default_deadline_s, self._cluster.settings.hop_margin_s)


def _served(model: decoder_pb2.DecoderServiceGetModelResponse) -> ServedModel:
    told = "\n".join([model.model, *sorted(model.accepted_fingerprints)])
    return ServedModel(
        name=model.model,
        context_tokens=model.context_tokens,
        max_images=model.max_images,
        max_audios=model.max_audios,
        fingerprint=f"fp_{hashlib.sha256(told.encode()).hexdigest()[:12]}",
    )
