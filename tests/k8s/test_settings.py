"""Every variable that the chart sets is one that its process knows, with a value that it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_encoder.settings import AudioSettings
from autoscaler.settings import AutoscalerSettings
from gateway.admission.plan import Plan, Plans
from gateway.cluster import ClusterSettings
from gateway.identity.settings import AuthSettings
from gateway.openai_http.settings import HttpSettings
from job_worker.settings import WorkerSettings
from llm_decoder.loading import EngineSettings
from llm_decoder.settings import DecoderSettings
from tests.k8s.charts import EDGES, JOBS, Object, container, containers, env, of_kind, pods, rendered
from trichord import home
from trichord.jobs.settings import JobsSettings
from trichord.jobs.usage.settings import UsageSettings
from trichord.settings import ModelSettings, Settings
from trichord.telemetry.settings import TelemetrySettings
from trichord.tls import TlsSettings
from vision_encoder.settings import VisionSettings

PROCESSES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("gateway", "gateway"): (
        ClusterSettings,
        AuthSettings,
        HttpSettings,
        TelemetrySettings,
        JobsSettings,
        UsageSettings,
    ),
    ("vision-encoder", "front"): (VisionSettings, TlsSettings, TelemetrySettings),
    ("audio-encoder", "front"): (AudioSettings, TlsSettings, TelemetrySettings),
    ("llm-decoder", "front"): (DecoderSettings, TlsSettings, TelemetrySettings),
    ("vision-encoder", "triton"): (ModelSettings, TelemetrySettings),
    ("audio-encoder", "triton"): (ModelSettings, TelemetrySettings),
    ("llm-decoder", "triton"): (ModelSettings, EngineSettings, TelemetrySettings),
    ("autoscaler", "autoscaler"): (AutoscalerSettings, TlsSettings, TelemetrySettings),
    ("job-worker", "worker"): (WorkerSettings, JobsSettings, TlsSettings, TelemetrySettings),
}
"""What each process reads at start."""

SECRETS = {
    "cache-url": "redis://u:p@redis:6379/0",
    "state-url": "redis://u:p@redis:6379/1",
    "store-secret": "s" * 48,
    "api-key": "key",
    "username": "omni",
    "password": "word",
}


def prefixes(classes: tuple[Any, ...]) -> set[str]:
    return {prefix for cls in classes for prefix in _prefixes(cls)}


def _prefixes(cls: Any) -> Iterator[str]:
    if issubclass(cls, Settings):
        yield str(cls.model_config["env_prefix"])
    else:  # one that reads several, in its fields' types
        yield from (f"TRICHORD_{name.upper()}_" for name in cls.__dataclass_fields__)


def value(told: Any) -> str:
    return SECRETS[told["secretKeyRef"]["key"]] if isinstance(told, dict) else str(told)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.startswith("TRICHORD_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_every_process_starts_with_what_it_is_told(
    objects: list[Object], clean_environment: pytest.MonkeyPatch
) -> None:
    """The very classes read the very variables: an unknown or impossible one raises."""
    deployments, checked = of_kind(objects, "Deployment"), 0
    for (service, name), classes in PROCESSES.items():
        if service not in deployments:
            continue
        told = env(container(deployments[service], name))
        ours = {key: value(one) for key, one in told.items() if key.startswith("TRICHORD_") and key != home.VARIABLE}
        assert {key for key in ours if not key.startswith(tuple(prefixes(classes)))} == set(), (service, name)
        with pytest.MonkeyPatch.context() as environment:
            for key, text in ours.items():
                environment.setenv(key, text)
            for cls in classes:
                cls.from_environment()
        checked += 1
    assert checked >= 7


def test_no_other_container_is_told_settings(objects: list[Object]) -> None:
    deployments = of_kind(objects, "Deployment")
    for service, deployment in deployments.items():
        for one in containers(deployment["spec"]["template"]["spec"]):
            if (service, one["name"]) not in PROCESSES:
                assert {key for key in env(one) if key.startswith("TRICHORD_")} <= {home.VARIABLE}


def test_no_variable_is_told_twice(objects: list[Object]) -> None:
    for _, _, spec in pods(objects):
        for one in containers(spec):
            names = [variable["name"] for variable in one.get("env", [])]
            assert len(names) == len(set(names))


def test_secrets_are_named_never_written(objects: list[Object]) -> None:
    """No value of a Secret stands in a pod, and nothing that is one by its name has a value."""
    secrets = [text for one in objects if one["kind"] == "Secret" for text in one["stringData"].values()]
    password = [text.partition("redis://:")[2].partition("@")[0] for text in secrets if text.startswith("redis://:")]
    others = str([one for one in objects if one["kind"] != "Secret"])
    assert not [text for text in (*secrets, *filter(None, password)) if text in others]
    for _, _, spec in pods(objects):
        for one in containers(spec):
            inline = [key for key, told in env(one).items() if isinstance(told, str) and _is_secret(key)]
            assert inline == []


def _is_secret(name: str) -> bool:
    return name.endswith(("_SECRET", "_URL", "PASSWORD", "_KEY")) and name not in {
        "TRICHORD_AUTH_SECRET",  # a file
        "TRICHORD_TLS_KEY",  # a file
        "TRICHORD_AUTH_OIDC_JWKS_URL",  # public keys
        "AWS_ENDPOINT_URL",  # an address; credentials are of another Secret
        "TRICHORD_TELEMETRY_OTLP_URL",  # the schema lets no name or password be in it
    }


def test_the_trials_secret_has_all_that_pods_ask_for() -> None:
    objects = rendered("dev")
    (secret,) = of_kind(objects, "Secret").values()
    asked = set()
    for _, _, spec in pods(objects):
        for one in containers(spec):
            references = [told for told in env(one).values() if isinstance(told, dict)]
            asked |= {told["secretKeyRef"]["key"] for told in references if "secretKeyRef" in told}
        asked |= {item["key"] for volume in spec["volumes"] for item in _secret_items(volume, secret)}
    assert asked == set(secret["stringData"])


def _secret_items(volume: Any, secret: Object) -> list[Any]:
    projected = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
    named = [volume["secret"]] if "secret" in volume else []
    name = secret["metadata"]["name"]
    return [item for one in (*projected, *named) if name in one.values() for item in one["items"]]


def test_large_and_fractional_numbers_arrive_as_written() -> None:
    """Helm's numbers are floats: 51539607552 would become 5.1539607552e+10."""
    engine = env(container(of_kind(rendered("h100"), "Deployment")["llm-decoder"], "triton"))
    assert engine["TRICHORD_ENGINE_KV_CACHE_BYTES"] == "51539607552"
    values = {"gateway": {"settings": {"TRICHORD_ADMISSION_LOCAL_SHARE": 0.25, "TRICHORD_HTTP_DOCS": False}}}
    gateway = env(container(of_kind(rendered(values=values), "Deployment")["gateway"], "gateway"))
    assert (gateway["TRICHORD_ADMISSION_LOCAL_SHARE"], gateway["TRICHORD_HTTP_DOCS"]) == ("0.25", "false")


def test_plans_are_plans(tmp_path: Path) -> None:
    """Numbers of the file are strict integers still."""
    file = tmp_path / "plans.yaml"
    file.write_text(of_kind(rendered(values=EDGES["everything"]), "ConfigMap")["gateway-plans"]["data"][file.name])
    assert Plans.read(file, Plan()).of("acme").tokens_per_min == 30_000_000


def test_a_setting_of_values_wins() -> None:
    values = {"visionEncoder": {"settings": {"TRICHORD_VISION_DRAIN_NOTICE_S": 1.5}}}
    front = env(container(of_kind(rendered(values=values), "Deployment")["vision-encoder"], "front"))
    assert front["TRICHORD_VISION_DRAIN_NOTICE_S"] == "1.5"


@pytest.mark.parametrize("edge", ["everything"])
def test_files_that_settings_name_are_mounted(edge: str) -> None:
    for name, _, spec in pods(rendered(values=EDGES[edge])):
        for one in containers(spec):
            mounts = [mount["mountPath"] for mount in one["volumeMounts"]]
            files = [told for told in env(one).values() if isinstance(told, str) and told.startswith("/etc/")]
            assert all(any(file.startswith(f"{mount}/") for mount in mounts) for file in files), name
            assert {mount["name"] for mount in one["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]}


def test_spans_say_which_pod_they_are_of() -> None:
    """By variables that Kubernetes fills in: each is defined before it is used."""
    for name, deployment in of_kind(rendered(values=EDGES["everything"]), "Deployment").items():
        for one in deployment["spec"]["template"]["spec"]["containers"] + [
            c for c in deployment["spec"]["template"]["spec"].get("initContainers", []) if c["name"] == "triton"
        ]:
            names = list(env(one))
            told = dict(pair.split("=") for pair in env(one)["OTEL_RESOURCE_ATTRIBUTES"].split(","))
            assert told["k8s.deployment.name"] == f"blue-trichord-{name}"
            assert told["k8s.container.name"] == one["name"]
            for attribute in ("k8s.namespace.name", "k8s.node.name", "k8s.pod.name", "k8s.pod.uid"):
                variable = told[attribute].removeprefix("$(").removesuffix(")")
                assert names.index(variable) < names.index("OTEL_RESOURCE_ATTRIBUTES")
                assert "fieldRef" in env(one)[variable]


def test_only_the_gateway_decides_whose_trace_goes_on() -> None:
    deployments = of_kind(rendered(values=EDGES["everything"]), "Deployment")
    trusts = {
        name
        for name, one in deployments.items()
        for c in containers(one["spec"]["template"]["spec"])
        if env(c).get("TRICHORD_TELEMETRY_TRUST_PARENT")
    }
    assert trusts == {"gateway"}
    front = env(container(deployments["vision-encoder"], "front"))
    assert front["TRICHORD_TELEMETRY_SAMPLE_RATIO"] == "0.25"


def test_without_a_collector_nothing_of_telemetry_is_told() -> None:
    for _, _, spec in pods(rendered()):
        for one in containers(spec):
            assert not [name for name in env(one) if name.startswith(("TRICHORD_TELEMETRY_", "OTEL_"))]
            assert "--trace-config" not in str(one.get("args"))


def test_gateways_and_workers_are_told_the_same_of_jobs() -> None:
    """Whatever is kept by the one is found by the other."""
    deployments = of_kind(rendered(values=EDGES["everything"]), "Deployment")
    gateway, worker = (env(container(deployments[s], c)) for s, c in (("gateway", "gateway"), ("job-worker", "worker")))
    told = {name: one for name, one in worker.items() if name.startswith(("TRICHORD_JOBS_", "AWS_"))}
    assert told.items() <= gateway.items()
    assert {"TRICHORD_JOBS_KAFKA_PASSWORD", "AWS_SECRET_ACCESS_KEY", "TRICHORD_JOBS_REPLICATION"} <= set(told)
    assert worker["TRICHORD_WORKER_KEY"]["secretKeyRef"] == {"name": "trichord-work-key", "key": "api-key"}


def test_jobs_on_a_claim_are_where_both_mount_it() -> None:
    deployments = of_kind(rendered(values=JOBS), "Deployment")
    for service, name in (("gateway", "gateway"), ("job-worker", "worker")):
        one, spec = container(deployments[service], name), deployments[service]["spec"]["template"]["spec"]
        (mount,) = [mount for mount in one["volumeMounts"] if mount["mountPath"] == env(one)["TRICHORD_JOBS_STORE"]]
        (volume,) = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
        assert volume["persistentVolumeClaim"] == {"claimName": "trichord-jobs"}
        assert "readOnly" not in mount


@pytest.mark.parametrize(
    ("values", "volume"),
    [(JOBS, "emptyDir"), (EDGES["everything"], "persistentVolumeClaim")],
)
def test_no_two_gateways_share_a_spool(values: dict[str, Any], volume: str) -> None:
    deployment = of_kind(rendered(values=values), "Deployment")["gateway"]
    one, spec = container(deployment, "gateway"), deployment["spec"]["template"]["spec"]
    folder, own = env(one)["TRICHORD_USAGE_SPOOL"].split("/$")
    assert own == "(POD_NAME)"
    assert list(env(one)).index("POD_NAME") < list(env(one)).index("TRICHORD_USAGE_SPOOL")
    (mount,) = [mount for mount in one["volumeMounts"] if mount["mountPath"] == folder]
    assert volume in next(found for found in spec["volumes"] if found["name"] == mount["name"])


def test_a_gateway_that_asks_for_no_key_gets_none() -> None:
    worker = container(of_kind(rendered("dev", JOBS), "Deployment")["job-worker"], "worker")
    assert "TRICHORD_WORKER_KEY" not in env(worker)


def test_without_jobs_nobody_is_told_of_them(profile: str) -> None:
    objects = rendered(profile)
    assert "job-worker" not in of_kind(objects, "Deployment")
    told = [name for _, _, spec in pods(objects) for one in containers(spec) for name in env(one)]
    assert not [name for name in told if name.startswith(("TRICHORD_JOBS_", "TRICHORD_USAGE_", "AWS_"))]
