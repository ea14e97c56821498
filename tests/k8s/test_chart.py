"""The chart as a whole: linted, valid by Kubernetes' own schemas, and strict about its values."""

from __future__ import annotations

import functools
import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.k8s.charts import CHART, EDGES, JOBS, PROFILES, Object, of_kind, rendered, run_helm, with_values

KUBERNETES = ("1.33", "1.37")
"""The oldest and the newest version that the chart is for."""
CUSTOM = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule", "HTTPRoute", "GRPCRoute"}


def test_lint(profile: str) -> None:
    done = with_values(["lint", "--strict"], profile, {})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_valid(objects: list[Object], version: str) -> None:
    """Strictly: an unknown field is an error."""
    known = [one for one in objects if one["kind"] not in CUSTOM]
    if version == "1.33":  # before resource.k8s.io/v1; tolerance is in no object of ours but ScaledObjects
        known = [one for one in known if one["kind"] != "ResourceClaimTemplate"]
    assert len(known) > 15
    for one in known:
        _validate(json.dumps(one), version)


@functools.cache
def _validate(text: str, version: str) -> None:
    """Most objects are the same for most values."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_names_are_unique_and_short(objects: list[Object]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    assert max(len(name) for _, name in names) <= 63


def test_nothing_is_null(objects: list[Object]) -> None:
    """A null is a template that said nothing where something was meant."""
    assert [path for one in objects for path in _nulls(one, (one["kind"], one["metadata"]["name"]))] == []


def _nulls(node: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if node is None:
        return [path]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, one in items for found in _nulls(one, (*path, key))]


def test_a_long_release_name_is_cut() -> None:
    done = run_helm("template", "r" * 53, str(CHART))
    assert done.returncode == 0, done.stderr
    assert all(len(one["metadata"]["name"]) <= 63 for one in yaml.safe_load_all(done.stdout) if one)


VIOLATIONS: list[tuple[dict[str, Any], str]] = [
    ({"gatway": {}}, "gatway"),
    ({"gateway": {"replica": 3}}, "replica"),
    ({"gateway": {"replicas": "3"}}, "/gateway/replicas"),
    ({"gateway": {"resources": {"requests": {"cpu": "1 core"}}}}, "/gateway/resources/requests/cpu"),
    ({"gateway": {"settings": {"TRICHORD_VISION_LISTEN": "x"}}}, "TRICHORD_VISION_LISTEN"),
    (
        {"visionEncoder": {"triton": {"settings": {"TRICHORD_ENGINE_WEIGHTS": "int8"}}}},
        "TRICHORD_ENGINE_WEIGHTS",
    ),
    ({"visionEncoder": {"accelerator": {"mode": "gpu"}}}, "/visionEncoder/accelerator/mode"),
    ({"llmDecoder": {"triton": {"memory": "1Gi"}}}, "memory"),
    ({"image": {"tag": "latest"}}, "/image/tag"),
    ({"audioEncoder": {"image": {"digest": "sha256:beef"}}}, "/audioEncoder/image/digest"),
    ({"model": {"source": "s3"}}, "/model/source"),
    ({"model": {"source": "pvc", "pvc": {"claim": ""}}}, "/model/pvc/claim"),
    ({"model": {"source": "image"}}, "/model/image/reference"),
    ({"model": {"source": "image", "image": {"reference": "r/model:v1"}}}, "/model/image/reference"),
    ({"model": {"source": "pull"}}, "/model/pull/from"),
    ({"existingSecret": ""}, "/existingSecret"),
    ({"auth": {"mode": "keys", "keysSecret": ""}}, "/auth/keysSecret"),
    ({"auth": {"mode": "oidc"}}, "/auth/oidc/issuer"),
    ({"auth": {"oidc": {"jwksUrl": "http://id.example.com"}}}, "/auth/oidc/jwksUrl"),
    ({"tls": {"enabled": True, "serverName": ""}}, "/tls/serverName"),
    ({"autoscaler": {"mode": "direct"}}, "/autoscaler/mode"),
    ({"autoscaler": {"mode": "keda", "replicas": 2}}, "/autoscaler/replicas"),
    ({"autoscaler": {"rules": {"modalities": {"video": {}}}}}, "video"),
    ({"autoscaler": {"rules": {"modalities": {"vision": {"max_replica": 1}}}}}, "max_replica"),
    ({"valkey": {"enabled": True, "replicas": 2}}, "/valkey/replicas"),
    ({"networkPolicy": {"redisPorts": []}}, "/networkPolicy/redisPorts"),
    ({"gatewayApi": {"enabled": True}}, "/gatewayApi/parentRefs"),
    ({"telemetry": {"otlpUrl": "otel:4318"}}, "/telemetry/otlpUrl"),
    ({"telemetry": {"otlpUrl": "https://user:word@otel.example.com"}}, "/telemetry/otlpUrl"),
    ({"telemetry": {"sampleRatio": 2}}, "/telemetry/sampleRatio"),
    ({"monitoring": {"prometheusRule": {"objectives": {"availability": 1}}}}, "/objectives/availability"),
    ({"jobs": {"enabled": True}}, "/jobs/kafka/bootstrap"),
    ({"jobs": {"kafka": {"bootstrap": "user:word@kafka:9092"}}}, "user:word@kafka:9092"),
    ({"jobs": {"enabled": True, "kafka": {"bootstrap": "k:1"}, "store": {"claim": ""}}}, "/jobs/store/claim"),
    ({"jobs": {"store": {"url": "file:///jobs"}}}, "/jobs/store/url"),
    ({"jobs": {"store": {"environment": {"AWS_SECRET_ACCESS_KEY": "s"}}}}, "AWS_SECRET_ACCESS_KEY"),
    ({"jobs": {"settings": {"TRICHORD_JOBS_KAFKA_PASSWORD": "s"}}}, "TRICHORD_JOBS_KAFKA_PASSWORD"),
    (
        {"jobs": {"enabled": True, "kafka": {"bootstrap": "k:1", "securityProtocol": "SASL_SSL"}}},
        "/jobs/kafka/existingSecret",
    ),
    ({**JOBS, "jobWorker": {"keySecret": ""}}, "/jobWorker/keySecret"),
    ({"jobWorker": {"settings": {"TRICHORD_WORKER_KEY": "s"}}}, "TRICHORD_WORKER_KEY"),
]


@pytest.mark.parametrize(("values", "key"), VIOLATIONS, ids=[key for _, key in VIOLATIONS])
def test_a_wrong_value_is_refused_by_its_key(values: dict[str, Any], key: str) -> None:
    done = with_values(["template", "blue"], "", values)
    assert done.returncode != 0
    assert key in done.stderr


def test_the_schema_is_strict_everywhere() -> None:
    """Every object of ours names its keys; maps of free keys and pieces of Kubernetes' own are told apart by name."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    free = {"strings", "kubernetes", "objects"}
    open_objects = [path for path in _open_objects(schema, ()) if not free & set(path)]
    assert open_objects == [("properties", "global")]


def _open_objects(node: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(node, list):
        return [found for one in node for found in _open_objects(one, path)]
    if not isinstance(node, dict):
        return []
    is_open = node.get("type") == "object" and "additionalProperties" not in node
    below = [found for key, one in node.items() for found in _open_objects(one, (*path, key))]
    return [path, *below] if is_open else below


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, told in values.items():
        if isinstance(told, dict):
            assert set(schema["properties"][name]["properties"]) == set(told), name


def test_without_the_operators_nothing_of_theirs_is_made(profile: str) -> None:
    kinds = {one["kind"] for one in rendered(profile, capabilities=())}
    assert not kinds & CUSTOM
    assert {"Deployment", "Service", "NetworkPolicy"} <= kinds


def test_custom_objects_point_at_what_is_there() -> None:
    objects = rendered(values=EDGES["everything"])
    gateway = of_kind(objects, "Service")["gateway"]
    routes = [*of_kind(objects, "HTTPRoute").values(), *of_kind(objects, "GRPCRoute").values()]
    backends = [backend for route in routes for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    ports = {port["port"] for port in gateway["spec"]["ports"]}
    assert {backend["name"] for backend in backends} == {gateway["metadata"]["name"]}
    assert {backend["port"] for backend in backends} <= ports


def test_every_pod_of_ours_is_scraped_once() -> None:
    """By a job that rules and dashboards know: the service's name."""
    objects = rendered(values=EDGES["everything"])
    (monitor,) = of_kind(objects, "ServiceMonitor").values()
    (wanted,), endpoint = monitor["spec"]["selector"]["matchExpressions"], monitor["spec"]["endpoints"][0]["port"]
    scraped = [
        one["metadata"]["labels"][wanted["key"]]
        for one in of_kind(objects, "Service").values()
        if one["metadata"]["labels"][wanted["key"]] in wanted["values"]
        and endpoint in [port["name"] for port in one["spec"]["ports"]]
    ]
    assert sorted(scraped) == sorted(of_kind(objects, "Deployment"))
    assert monitor["spec"]["jobLabel"] == wanted["key"]
    (gateway,) = [one for name, one in of_kind(objects, "Service").items() if name == "gateway"]
    assert endpoint not in [port["name"] for port in gateway["spec"]["ports"]], "that one may lead outside"


def test_the_notes_say_what_is_risky() -> None:
    done = with_values(["install", "blue", "--dry-run=client"], "dev", {"autoscaler": {"mode": "keda"}})
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "auth.mode is off" in notes
    assert "nothing is scaled" in notes
    assert "keep nothing on disk" in notes


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_changes_only_what_there_is(name: str) -> None:
    """Not a schema's work alone: a key that the defaults lack would be one that nothing reads."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    profile = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    assert profile
    assert list(_unknown(profile, defaults, ())) == []


def _unknown(told: Any, known: Any, path: tuple[str, ...]) -> Any:
    if not isinstance(told, dict) or not isinstance(known, dict) or path[-1:] in [("settings",), ("rules",)]:
        return
    for key, value in told.items():
        if key not in known and path[-1:] not in [("requests",), ("limits",)]:
            yield (*path, key)
        yield from _unknown(value, known.get(key), (*path, key))
