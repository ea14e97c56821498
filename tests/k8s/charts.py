"""The chart, rendered by the real Helm CLI: parsed objects, never text."""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "trichord"
PROFILES = ("dev", "cpu", "h100", "mig")
RELEASE, NAMESPACE = "blue", "omni"
CAPABILITIES = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")

Object = dict[str, Any]


@functools.cache
def helm() -> str:
    """Path of the program."""
    loader = SourceFileLoader("helm_script", str(ROOT / "scripts" / "helm"))
    spec = importlib.util.spec_from_loader("helm_script", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return str(module.program())


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, timeout=60, check=False)


def with_values(command: Sequence[str], profile: str, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Helm's ``command`` on the chart: its defaults, a profile if one is named, and ``values``."""
    files = ["--values", str(CHART / f"values-{profile}.yaml")] if profile else []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return run_helm(*command, str(CHART), *files, "--values", file.name)


@functools.cache
def _rendered(profile: str, values: str, capabilities: tuple[str, ...]) -> str:
    flags = [flag for name in capabilities for flag in ("--api-versions", name)]
    done = with_values(["template", RELEASE, "--namespace", NAMESPACE, *flags], profile, json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(
    profile: str = "", values: Mapping[str, Any] | None = None, capabilities: Sequence[str] = CAPABILITIES
) -> list[Object]:
    """All objects of a release; the defaults' and a cluster's that knows all that the chart looks for."""
    text = _rendered(profile, json.dumps(values or {}), tuple(capabilities))
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(objects: Sequence[Object], kind: str) -> dict[str, Object]:
    """By name, without the release's."""
    return {
        one["metadata"]["name"].removeprefix(f"{RELEASE}-trichord").removeprefix("-"): one
        for one in objects
        if one["kind"] == kind
    }


def pods(objects: Sequence[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Name, metadata and spec of every pod that the objects would make."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["metadata"], one["spec"]
        elif one["kind"] in ("Deployment", "Job", "StatefulSet", "DaemonSet"):
            yield one["metadata"]["name"], one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


def containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def container(deployment: Object, name: str) -> Object:
    return next(one for one in containers(deployment["spec"]["template"]["spec"]) if one["name"] == name)


def env(container: Object) -> dict[str, Any]:
    """Values by name; what comes from elsewhere is a dict."""
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}


DIGEST = f"sha256:{'a' * 64}"
JOBS: dict[str, Any] = {"jobs": {"enabled": True, "kafka": {"bootstrap": "kafka-0.example.com:9092"}}}
"""The least that jobs take: what they keep is on a claim."""
EDGES: dict[str, dict[str, Any]] = {
    "everything": {
        "tls": {"enabled": True},
        "auth": {"mode": "both", "oidc": {"issuer": "i", "audience": "a", "jwksUrl": "https://id.example.com/keys"}},
        "model": {"source": "image", "image": {"reference": f"r/checkpoint@sha256:{'0' * 64}", "path": "megrez"}},
        "gateway": {
            "plans": {"tenants": {"acme": {"tokens_per_min": 30_000_000}}},
            "service": {"type": "LoadBalancer"},
            "settings": {"TRICHORD_FETCH_HOSTS": "a.example.com", "TRICHORD_HTTP_MAX_BODY_BYTES": 94371840},
            "extraEnv": [{"name": "EXTRA", "value": "1"}],
            "extraEgress": [{"ports": [{"port": 9092}]}],
        },
        "visionEncoder": {"accelerator": {"mode": "dra", "runtimeClassName": "nvidia"}, "image": {"digest": DIGEST}},
        "autoscaler": {"mode": "keda"},
        "jobs": {
            "enabled": True,
            "store": {
                "url": "s3://jobs/blue",
                "environment": {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "https://s3.example.com"},
                "credentialsSecret": "jobs-s3",
            },
            "kafka": {
                "bootstrap": "kafka-0.example.com:9093,kafka-1.example.com:9093",
                "securityProtocol": "SASL_SSL",
                "existingSecret": "jobs-kafka",
                "caSecret": "jobs-kafka-ca",
            },
            "usageSpool": {"claim": "usage"},
            "settings": {"TRICHORD_JOBS_REPLICATION": 3},
        },
        "telemetry": {"otlpUrl": "http://otel.observability.svc:4318/", "sampleRatio": 0.25, "trustParent": True},
        "networkPolicy": {
            "publicHttps": True,
            "clientsFrom": [{"namespaceSelector": {"matchLabels": {"team": "web"}}}],
            "redisTo": [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
            "kafkaTo": [{"ipBlock": {"cidr": "10.1.2.4/30"}}],
            "kafkaPorts": [9093],
            "objectStoreTo": [{"ipBlock": {"cidr": "10.1.3.0/24"}}],
        },
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "www"},
        "gatewayApi": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "tests": {"keySecret": "test-key"},
        "priorityClasses": {"create": True},
    },
    "bare": {
        "networkPolicy": {"enabled": False},
        "drain": {"endpointsSeconds": 0, "noticeSeconds": 0, "tritonSeconds": 0},
        "model": {"verify": False, "dtype": "", "backend": "simulated"},
        "monitoring": {
            "serviceMonitor": {"enabled": False},
            "prometheusRule": {"enabled": False},
            "dashboards": {"enabled": False},
        },
        "gateway": {"drainTimeoutSeconds": 0},
    },
    "asleep": {"visionEncoder": {"replicas": 0}, "audioEncoder": {"replicas": 0}, **JOBS},
    "hub": {
        "model": {"source": "pull", "pull": {"from": "org/name", "tokenSecret": "hub"}},
        "networkPolicy": {"pullEgress": [{"ports": [{"port": 443}]}]},
        "autoscaler": {"mode": "kubernetes", "rules": {"gpu_budget": 4}},
    },
}
"""Values at the chart's edges."""
