"""Mouth (a): KEDA asks over gRPC how many replicas there shall be (protos/trichord/keda/externalscaler.proto).

KEDA makes a Kubernetes HorizontalPodAutoscaler of the metric that it is told of here; that one asks for
``ceil(metric / target)`` replicas (type AverageValue). The target is 1 and the metric is the policy's number, so the
quotient is the number itself, exactly: integers are exact in a double and in Kubernetes' milli-units. Three things
would still bend it, and must be set in the ScaledObject:

- ``tolerance`` 0 of ``behavior.scaleUp`` and ``scaleDown``: by default a change of 10 % or less is ignored, so that 20
  would never become 21;
- ``stabilizationWindowSeconds`` 0 of both: the policy has a window of its own;
- ``cooldownPeriod`` 0: the policy waits before it sleeps. Zero is ``IsActive``'s to say, an HPA knows no zero.

Without a decision the answer is UNAVAILABLE, never 0: KEDA then leaves replicas alone or takes its ``fallback``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc

from autoscaler.actuator import Replicas
from autoscaler.decisions import Decisions
from trichord.demand import MODALITIES, Demand, Modality
from trichord.errors import RequestError
from trichord.keda import externalscaler_pb2 as pb
from trichord.keda import externalscaler_pb2_grpc as pb_grpc

Context = grpc.aio.ServicerContext[Any, Any]

TARGET = 1.0
"""Metric that one replica is good for: the metric is in replicas."""


class ExternalScaler(pb_grpc.ExternalScalerServicer):
    """Tells the newest decisions."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    async def IsActive(self, request: pb.ScaledObjectRef, context: Context) -> pb.IsActiveResponse:  # noqa: N802
        """Whether there shall be any replica."""
        return pb.IsActiveResponse(result=self._decisions.of(_modality(request)).replicas > 0)

    async def StreamIsActive(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        """The same now and whenever it changes; silent while nothing is decided."""
        modality, told = _modality(request), None
        async for _ in self._decisions.follow():
            if modality not in self._decisions.latest:
                continue
            active = self._decisions.of(modality).replicas > 0
            if active != told:
                yield pb.IsActiveResponse(result=active)
            told = active

    async def GetMetricSpec(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.GetMetricSpecResponse:
        """One metric, in replicas."""
        return _spec(_modality(request))

    async def StreamMetricSpec(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """The same at once; it never changes."""
        yield _spec(_modality(request))
        await asyncio.Event().wait()

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:  # noqa: N802
        """The replicas that shall be."""
        modality = _modality(request.scaledObjectRef)
        if request.metricName != metric_name(modality):
            raise RequestError(f"The metric of {modality} is {metric_name(modality)}.", field="metricName")
        replicas = self._decisions.of(modality).replicas
        value = pb.MetricValue(metricName=request.metricName, metricValue=replicas, metricValueFloat=replicas)
        return pb.GetMetricsResponse(metricValues=[value])


class AskedByKeda:
    """The actuator that makes nothing: KEDA comes and asks. What was decided last counts as asked for.

    Replicas are ready as gateways see them; after a restart, as many count as asked for as are ready.
    """

    def __init__(self) -> None:
        self._asked: dict[Modality, int] = {}

    async def replicas(self, demands: Mapping[Modality, Demand]) -> Mapping[Modality, Replicas]:
        """See Actuator. A modality that no gateway ever told of is missing."""
        for modality, demand in demands.items():
            self._asked.setdefault(modality, demand.num_ready_replicas)
        return {
            modality: Replicas(
                asked, min(asked, demands[modality].num_ready_replicas if modality in demands else asked)
            )
            for modality, asked in self._asked.items()
        }

    async def scale(self, modality: Modality, seen: Replicas, replicas: int, reason: str) -> bool:
        """See Actuator."""
        self._asked[modality] = replicas
        return True

    async def close(self) -> None:
        """See Actuator."""


def add_to(server: grpc.aio.Server, decisions: Decisions) -> Sequence[str]:
    """Serves the contract on ``server``; the names of its services."""
    pb_grpc.add_ExternalScalerServicer_to_server(ExternalScaler(decisions), server)
    return [pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name]


def metric_name(modality: Modality) -> str:
    """As in the HorizontalPodAutoscaler."""
    return f"trichord_{modality}_replicas"


def _spec(modality: Modality) -> pb.GetMetricSpecResponse:
    spec = pb.MetricSpec(metricName=metric_name(modality), targetSize=int(TARGET), targetSizeFloat=TARGET)
    return pb.GetMetricSpecResponse(metricSpecs=[spec])


def _modality(request: pb.ScaledObjectRef) -> Modality:
    told = request.scalerMetadata.get("modality", "")
    if told not in MODALITIES:
        known = ", ".join(MODALITIES)
        raise RequestError(
            f"The trigger's metadata must have modality, one of {known}.", field="scalerMetadata.modality"
        )
    return told
