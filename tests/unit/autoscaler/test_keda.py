"""KEDA's contract over real gRPC, and the arithmetic that Kubernetes then does with the answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import keda
from autoscaler.actuator import Replicas
from autoscaler.decisions import Decisions, Record
from autoscaler.policy import Decision
from autoscaler.settings import AutoscalerSettings
from autoscaler.state import State
from trichord import server
from trichord.demand import Demand, Modality
from trichord.keda import externalscaler_pb2 as pb
from trichord.keda import externalscaler_pb2_grpc as pb_grpc

VISION = pb.ScaledObjectRef(name="vision", namespace="models", scalerMetadata={"modality": "vision"})


def decided(modality: Modality, replicas: int) -> dict[Modality, Record]:
    decision = Decision(replicas, "because", State(), floor=0)
    return {modality: Record(modality, 0.0, Replicas(1, 1), decision)}


@pytest.fixture
def decisions() -> Decisions:
    return Decisions()


@pytest.fixture
async def channel(decisions: Decisions) -> AsyncIterator[grpc.aio.Channel]:
    settings = AutoscalerSettings(state_url="redis://127.0.0.1:1", listen="127.0.0.1:0", drain_timeout_s=0.0)
    running = await server.start(lambda grpc_server: keda.add_to(grpc_server, decisions), settings)
    await running.health.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        yield channel
    await running.drain()


@pytest.fixture
def scaler(channel: grpc.aio.Channel) -> Any:
    return pb_grpc.ExternalScalerStub(channel)


def horizontal_pod_autoscaler(metric: float, target: float, current: int, tolerance: float) -> int:
    """What Kubernetes makes of an external metric of type AverageValue (its documentation, "Algorithm details").

    Metrics come as quantities with three decimals, rounded up.
    """
    milli_metric, milli_target = math.ceil(metric * 1000), math.ceil(target * 1000)
    ratio = milli_metric / (milli_target * current)
    return current if abs(ratio - 1) <= tolerance else math.ceil(milli_metric / milli_target)


async def refused(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


@pytest.mark.parametrize(("replicas", "active"), [(0, False), (1, True), (7, True)])
async def test_it_is_active_when_any_replica_is_wanted(
    scaler: Any, decisions: Decisions, replicas: int, active: bool
) -> None:
    decisions.note(decided("vision", replicas))
    assert (await scaler.IsActive(VISION)).result is active


@pytest.mark.parametrize("replicas", [1, 7, 21, 999])
async def test_the_quotient_is_what_was_decided(scaler: Any, decisions: Decisions, replicas: int) -> None:
    decisions.note(decided("vision", replicas))
    [spec] = (await scaler.GetMetricSpec(VISION)).metricSpecs
    asked = pb.GetMetricsRequest(scaledObjectRef=VISION, metricName=spec.metricName)
    [value] = (await scaler.GetMetrics(asked)).metricValues
    assert value.metricName == spec.metricName
    for current in (1, max(1, replicas - 1), replicas, replicas + 1):
        figures = (value.metricValueFloat, spec.targetSizeFloat)
        assert horizontal_pod_autoscaler(*figures, current, tolerance=0) == replicas
    assert value.metricValue / spec.targetSize == replicas, "for a KEDA that reads only the older fields"


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_kubernetes_makes_exactly_that_many_of_it(replicas: int, current: int) -> None:
    assert horizontal_pod_autoscaler(float(replicas), keda.TARGET, current, tolerance=0) == replicas


def test_kubernetes_tolerance_must_be_off() -> None:
    assert horizontal_pod_autoscaler(21.0, keda.TARGET, 20, tolerance=0.1) == 20
    assert horizontal_pod_autoscaler(21.0, keda.TARGET, 20, tolerance=0.0) == 21


async def test_without_a_decision_nothing_is_said_to_be_zero(scaler: Any) -> None:
    asked = pb.GetMetricsRequest(scaledObjectRef=VISION, metricName="trichord_vision_replicas")
    assert await refused(scaler.IsActive(VISION)) == grpc.StatusCode.UNAVAILABLE
    assert await refused(scaler.GetMetrics(asked)) == grpc.StatusCode.UNAVAILABLE
    assert (await scaler.GetMetricSpec(VISION)).metricSpecs[0].metricName == "trichord_vision_replicas"


async def test_what_is_asked_wrongly_is_refused(scaler: Any, decisions: Decisions) -> None:
    decisions.note(decided("vision", 1))
    for metadata in ({}, {"modality": "video"}, {"modality": ""}):
        reference = pb.ScaledObjectRef(name="x", scalerMetadata=metadata)
        assert await refused(scaler.IsActive(reference)) == grpc.StatusCode.INVALID_ARGUMENT
        assert await refused(scaler.GetMetricSpec(reference)) == grpc.StatusCode.INVALID_ARGUMENT
        assert await refused(scaler.StreamIsActive(reference).read()) == grpc.StatusCode.INVALID_ARGUMENT
        assert await refused(scaler.StreamMetricSpec(reference).read()) == grpc.StatusCode.INVALID_ARGUMENT
    asked = pb.GetMetricsRequest(scaledObjectRef=VISION, metricName="trichord_audio_replicas")
    assert await refused(scaler.GetMetrics(asked)) == grpc.StatusCode.INVALID_ARGUMENT


async def test_activity_is_pushed_at_once_and_only_when_it_changes(scaler: Any, decisions: Decisions) -> None:
    decisions.note(decided("vision", 0))
    stream = scaler.StreamIsActive(VISION)
    assert (await stream.read()).result is False
    decisions.note(decided("vision", 0))
    decisions.note(decided("vision", 2))
    assert (await stream.read()).result is True
    decisions.note(decided("vision", 3))
    await asyncio.sleep(0.05)
    decisions.note(decided("vision", 0))
    assert (await stream.read()).result is False
    stream.cancel()


async def test_activity_of_what_is_not_decided_yet_comes_with_its_decision(scaler: Any, decisions: Decisions) -> None:
    stream = scaler.StreamIsActive(VISION)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0.05)
    decisions.note(decided("audio", 1))
    await asyncio.sleep(0.05)
    assert not reading.done()
    decisions.note(decided("vision", 1))
    assert (await reading).result is True
    stream.cancel()


async def test_the_spec_is_streamed_at_once_and_is_the_one_that_is_told(scaler: Any) -> None:
    stream = scaler.StreamMetricSpec(VISION)
    assert await stream.read() == await scaler.GetMetricSpec(VISION)
    further = asyncio.create_task(stream.read())
    await asyncio.sleep(0.05)
    assert not further.done(), "the stream stays open: its end would have KEDA connect again and again"
    stream.cancel()
    await asyncio.gather(further, return_exceptions=True)


async def test_health_knows_the_service(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service="externalscaler.ExternalScaler")
    assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING


def test_the_contract_is_kedas() -> None:
    """Numbers and types as KEDA has them: what is on the wire."""
    numbers = {
        name: {field.name: (field.number, field.type) for field in message.fields}
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }
    string, integer, double, message, boolean = 9, 3, 1, 11, 8
    assert numbers == {
        "ScaledObjectRef": {"name": (1, string), "namespace": (2, string), "scalerMetadata": (3, message)},
        "IsActiveResponse": {"result": (1, boolean)},
        "GetMetricSpecResponse": {"metricSpecs": (1, message)},
        "MetricSpec": {"metricName": (1, string), "targetSize": (2, integer), "targetSizeFloat": (3, double)},
        "GetMetricsRequest": {"scaledObjectRef": (1, message), "metricName": (2, string)},
        "GetMetricsResponse": {"metricValues": (1, message)},
        "MetricValue": {"metricName": (1, string), "metricValue": (2, integer), "metricValueFloat": (3, double)},
    }
    [service] = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "externalscaler.ExternalScaler"
    streams = {method.name: method.server_streaming for method in service.methods}
    assert streams == {
        "IsActive": False,
        "StreamIsActive": True,
        "GetMetricSpec": False,
        "GetMetrics": False,
        "StreamMetricSpec": True,
    }


async def test_what_was_decided_counts_as_asked_for() -> None:
    asked = keda.AskedByKeda()
    assert await asked.replicas({}) == {}
    two = {"vision": Demand(modality="vision", num_ready_replicas=2)}
    assert await asked.replicas(two) == {"vision": Replicas(2, 2)}
    assert await asked.scale("vision", Replicas(2, 2), 5, "because")
    assert await asked.replicas(two) == {"vision": Replicas(5, 2)}
    assert await asked.replicas({}) == {"vision": Replicas(5, 5)}, "without data nothing is said to be starting"
    await asked.close()
