"""What each Deployment promises: its pods are found, probed, drained and scaled as the services themselves expect."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from autoscaler.actuator import SERVICES
from autoscaler.rules import FleetRules
from tests.k8s.charts import DIGEST, EDGES, JOBS, NAMESPACE, Object, container, containers, env, of_kind, pods, rendered
from trichord.health import LIVENESS
from trichord.triton import runtime

MODALITIES = ("vision-encoder", "audio-encoder", "llm-decoder")


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_selectors_find_their_own_pods_alone(objects: list[Object]) -> None:
    labels = {name: metadata["labels"] for name, metadata, _ in pods(objects)}
    for one in objects:
        if one["kind"] in ("Deployment", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]["matchLabels"]
            assert [name for name in labels if selects(selector, labels[name])] == [one["metadata"]["name"]]
            assert set(selector) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}


def test_services_lead_to_ports_that_containers_have(objects: list[Object]) -> None:
    for service in of_kind(objects, "Service").values():
        specs = [s for _, m, s in pods(objects) if selects(service["spec"]["selector"], m["labels"])]
        assert len(specs) == 1, service["metadata"]["name"]
        named = {port["name"] for one in containers(specs[0]) for port in one.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_fronts_are_found_one_by_one() -> None:
    """Headless, and only those that are ready: the gateway balances by itself."""
    objects = rendered()
    gateway = env(container(of_kind(objects, "Deployment")["gateway"], "gateway"))
    for name, variable in zip(MODALITIES, ("VISION", "AUDIO", "DECODER"), strict=True):
        service = of_kind(objects, "Service")[name]
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is False
        full_name = f"{service['metadata']['name']}.{NAMESPACE}.svc"
        assert gateway[f"TRICHORD_GATEWAY_{variable}"] == f"dns:///{full_name}:50051"


def ports(one: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in one["ports"]}


def test_settings_listen_where_ports_are(objects: list[Object]) -> None:
    for _, deployment in of_kind(objects, "Deployment").items():
        for one in deployment["spec"]["template"]["spec"]["containers"]:
            listening = {v.rpartition(":")[2] for n, v in env(one).items() if n.endswith("_LISTEN") and v[0] == "0"}
            if listening:
                assert listening == {str(port) for port in ports(one).values()}


@pytest.mark.parametrize("name", [*MODALITIES, "autoscaler", "job-worker"])
def test_grpc_probes(name: str) -> None:
    """Started and ready as the service judges; alive as long as it answers at all: never because Triton is away."""
    deployment = of_kind(rendered("h100", JOBS), "Deployment")[name]
    one = deployment["spec"]["template"]["spec"]["containers"][0]
    startup, ready, alive = (one[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    assert {probe["grpc"]["port"] for probe in (startup, ready, alive)} == {ports(one)["health"]}
    assert (ready["grpc"].get("service"), alive["grpc"]["service"]) == (None, LIVENESS)
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
    assert deployment["spec"]["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]


def test_the_gateway_is_probed_by_http() -> None:
    gateway = container(of_kind(rendered(), "Deployment")["gateway"], "gateway")
    paths = [gateway[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")]
    assert paths == ["/healthz", "/readyz", "/healthz"]


def test_grace_is_longer_than_the_whole_drain(objects: list[Object]) -> None:
    """preStop counts against it, and Triton is told to end only when the front has ended."""
    for name, deployment in of_kind(objects, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        grace, one = spec["terminationGracePeriodSeconds"], spec["containers"][0]
        notices = [float(v) for n, v in env(one).items() if n.endswith("_DRAIN_NOTICE_S")]
        timeouts = [float(v) for n, v in env(one).items() if n.endswith("_DRAIN_TIMEOUT_S")]
        assert len(set(notices)) <= 1, "a process's two servers drain together"
        sleep = one.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert grace > sleep + max(notices, default=0) + max(timeouts, default=0), name


def test_triton_is_started_as_runtime_starts_it() -> None:
    """Each flag that makes the embedded one safe: loopback, no HTTP, what administers closed."""
    triton = runtime.Triton(Path("/opt/tritonserver/bin/tritonserver"), Path("/opt/tritonserver/backends"))
    ours = runtime.command(
        triton, Path("/models/repository"), grpc_port=8001, metrics_port=8002, shm_prefix="x", threads=1, model_env={}
    )
    told = flags_of(ours.argv[1:])
    key = told.pop("--grpc-restricted-protocol").rpartition("=")[0]
    del told["--backend-config"]  # regions of shared memory are the pod's own
    for name in MODALITIES:
        one = container(of_kind(rendered(), "Deployment")[name], "triton")
        flags = flags_of(one["args"])
        assert flags.pop("--grpc-restricted-protocol") == f"{key}=$(TRITON_ADMIN_KEY)"
        assert flags == told
        assert one["command"] == [ours.argv[0]]
        assert one["restartPolicy"] == "Always", "a native sidecar: it outlives the front"
        assert {"name": "shm", "mountPath": "/dev/shm"} in one["volumeMounts"]
        assert set(ours.env) - {"PATH", "LD_LIBRARY_PATH"} <= set(env(one))


def flags_of(arguments: Sequence[str]) -> dict[str, str]:
    return dict(flag.split("=", 1) if "=" in flag else (flag, "") for flag in arguments)


@pytest.mark.parametrize("name", MODALITIES)
def test_triton_tells_the_collector_as_runtime_has_it(name: str) -> None:
    triton = runtime.Triton(Path("t"), Path("b"))
    ours = runtime.command(
        triton,
        Path("r"),
        grpc_port=1,
        metrics_port=2,
        shm_prefix="x",
        threads=1,
        model_env={},
        service=f"{name}-triton",
        otlp_url=EDGES["everything"]["telemetry"]["otlpUrl"],
    )
    one = container(of_kind(rendered(values=EDGES["everything"]), "Deployment")[name], "triton")
    told = [flag for flag in one["args"] if flag.startswith("--trace-config")]
    assert told == [flag for flag in ours.argv if flag.startswith("--trace-config")]
    assert len(told) > 4


@pytest.mark.parametrize("name", MODALITIES)
def test_tritons_metrics_are_on_the_fronts_page(name: str) -> None:
    """The front asks where Triton listens; Triton's probe asks the same, from inside: its port is on loopback."""
    deployment = of_kind(rendered(), "Deployment")[name]
    front, triton = container(deployment, "front"), container(deployment, "triton")
    flags = flags_of(triton["args"])
    address = f"http://{flags['--metrics-address']}:{flags['--metrics-port']}/metrics"
    (told,) = [value for variable, value in env(front).items() if variable.endswith("_TRITON_METRICS")]
    assert told == address
    probe = triton["livenessProbe"]["exec"]["command"]
    assert probe[:-1] == ["/opt/trichord/bin/python", "-I", "-S", "-c"]
    assert address in probe[-1]
    compile(probe[-1], "probe", "exec")


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({}, ["verify", "render"]),
        ({"model": {"verify": False}}, ["render"]),
        (EDGES["hub"], ["pull", "render"]),
        (EDGES["everything"], ["verify", "render"]),
    ],
)
def test_the_models_files_are_made_ready_before_triton(values: dict[str, Any], steps: list[str]) -> None:
    spec = of_kind(rendered(values=values), "Deployment")["llm-decoder"]["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["initContainers"]] == [*steps, "triton"]
    writes = [one["name"] for one in containers(spec) for m in one["volumeMounts"] if _writes(m, "home", "checkpoint")]
    assert writes == (["pull"] if "pull" in steps else [])


def _writes(mount: Object, *names: str) -> bool:
    return mount["name"] in names and not mount.get("readOnly")


def test_a_hub_checkpoint_is_pulled_to_where_it_is_read() -> None:
    deployment = of_kind(rendered(values=EDGES["hub"]), "Deployment")["vision-encoder"]
    pull = container(deployment, "pull")
    assert pull["command"][1:] == ["checkpoint", "pull", "org/name", "--config", "megrez-3b-omni"]
    told = env(container(deployment, "front"))["TRICHORD_VISION_CHECKPOINT"]
    assert told == f"{env(pull)['TRICHORD_HOME']}/checkpoints/megrez-3b-omni"
    assert env(container(deployment, "triton"))["TRICHORD_MODEL_CHECKPOINT"] == told


ACCELERATORS = {
    "dev": {name: {} for name in MODALITIES},
    "cpu": {name: {} for name in MODALITIES},
    "h100": {name: {"nvidia.com/gpu": 1} for name in MODALITIES},
    "mig": {
        "vision-encoder": {"nvidia.com/mig-1g.10gb": 1},
        "audio-encoder": {"nvidia.com/mig-1g.10gb": 1},
        "llm-decoder": {"nvidia.com/mig-3g.40gb": 1},
    },
}


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerators_are_tritons_alone(name: str) -> None:
    for service, expected in ACCELERATORS[name].items():
        spec = of_kind(rendered(name), "Deployment")[service]["spec"]["template"]["spec"]
        for one in containers(spec):
            resources = one["resources"]
            devices = {key: value for key, value in resources["limits"].items() if key.startswith("nvidia.com/")}
            assert devices == (expected if one["name"] == "triton" else {})
            assert devices.items() <= resources["requests"].items(), "devices are not overcommitted"


def test_a_claim_instead_of_a_device_plugin() -> None:
    objects = rendered(values=EDGES["everything"])
    template = of_kind(objects, "ResourceClaimTemplate")["vision-encoder"]
    spec = of_kind(objects, "Deployment")["vision-encoder"]["spec"]["template"]["spec"]
    (claim,) = spec["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == template["metadata"]["name"]
    claims = {one["name"]: one["resources"].get("claims") for one in containers(spec)}
    assert {name for name, claimed in claims.items() if claimed} == {"triton"}
    assert claims["triton"] == [{"name": claim["name"]}]
    assert spec["runtimeClassName"] == "nvidia"


def test_a_digest_wins_over_the_tag() -> None:
    objects = rendered(values={**EDGES["everything"], "image": {"repository": "r.example.com/t", "tag": "1.2"}})
    deployments = of_kind(objects, "Deployment")
    assert container(deployments["vision-encoder"], "front")["image"] == f"r.example.com/t/vision-encoder@{DIGEST}"
    assert container(deployments["gateway"], "gateway")["image"] == "r.example.com/t/gateway:1.2"


SCALED = {"off": set(), "keda": set(SERVICES.values()), "kubernetes": set(SERVICES.values())}


@pytest.mark.parametrize("mode", SCALED)
def test_replicas_are_left_to_what_scales(mode: str) -> None:
    deployments = of_kind(rendered(values={"autoscaler": {"mode": mode}, **JOBS}), "Deployment")
    without = {name for name, one in deployments.items() if "replicas" not in one["spec"]}
    assert without == SCALED[mode]
    assert ("autoscaler" in deployments) == (mode != "off")
    gateway = env(container(deployments["gateway"], "gateway"))
    assert gateway.get("TRICHORD_WAKING_AUTOSCALED") == (None if mode == "off" else "true"), "sleepers are waited for"


def test_a_modality_without_rules_keeps_its_replicas() -> None:
    values = {"autoscaler": {"mode": "kubernetes", "rules": {"modalities": {"audio": None}}}}
    objects = rendered(values=values)
    assert "replicas" in of_kind(objects, "Deployment")["audio-encoder"]["spec"]
    scale = next(r for r in of_kind(objects, "Role")["autoscaler"]["rules"] if "deployments/scale" in r["resources"])
    assert len(scale["resourceNames"]) == 3


def test_without_keda_replicas_are_the_charts() -> None:
    objects = rendered("h100", capabilities=())
    deployments = of_kind(objects, "Deployment")
    assert all("replicas" in one["spec"] for one in deployments.values())
    assert "TRICHORD_WAKING_AUTOSCALED" not in env(container(deployments["gateway"], "gateway"))


def test_scaled_objects_carry_out_what_the_policy_says() -> None:
    """autoscaler.keda lists what would bend its numbers."""
    objects = rendered("h100", JOBS)
    scaled = of_kind(objects, "ScaledObject")
    scaler = of_kind(objects, "Service")["autoscaler"]
    rules = rules_of(objects)
    assert set(scaled) == set(SERVICES.values())
    for modality, service in SERVICES.items():
        spec = scaled[service]["spec"]
        (trigger,) = spec["triggers"]
        assert spec["scaleTargetRef"]["name"] == of_kind(objects, "Deployment")[service]["metadata"]["name"]
        assert trigger["type"] == "external-push"
        assert trigger["metadata"]["modality"] == modality
        port = scaler["spec"]["ports"][0]["port"]
        assert trigger["metadata"]["scalerAddress"] == f"{scaler['metadata']['name']}.{NAMESPACE}.svc:{port}"
        told = rules.modalities[modality]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (told.min_replicas, told.max_replicas)
        assert spec["cooldownPeriod"] == 0
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        for direction in behavior.values():
            assert (direction["tolerance"], direction["stabilizationWindowSeconds"]) == (0, 0)
        kubernetes_validate.validate(autoscaled(spec["scaleTargetRef"], behavior), "1.37", strict=True)


def autoscaled(target: Object, behavior: Object) -> Object:
    """The HorizontalPodAutoscaler that KEDA makes."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", **target}
    spec = {"scaleTargetRef": reference, "maxReplicas": 1, "behavior": behavior}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}, "spec": spec}


def rules_of(objects: list[Object]) -> FleetRules:
    text = of_kind(objects, "ConfigMap")["autoscaler-rules"]["data"]["rules.yaml"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return FleetRules.read(Path(file.name))


@pytest.mark.parametrize("name", ["cpu", "h100", "mig"])
def test_the_rules_of_a_profile_are_rules(name: str) -> None:
    rules = rules_of(rendered(name))
    assert set(rules.modalities) == set(SERVICES)
    on_gpu = {modality for modality, one in rules.modalities.items() if one.gpus_per_replica}
    assert on_gpu == (set() if name == "cpu" else {"vision", "audio", "decoder"})


def test_the_scaler_may_do_what_it_does_and_no_more() -> None:
    """As autoscaler.direct does it: list, get and replace scales of its own targets, its Lease, events."""
    objects = rendered("cpu", JOBS)
    told = env(container(of_kind(objects, "Deployment")["autoscaler"], "autoscaler"))
    allowed = {
        (resource, verb): rule.get("resourceNames")
        for rule in of_kind(objects, "Role")["autoscaler"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    targets = [f"{told['TRICHORD_AUTOSCALER_TARGET_PREFIX']}{service}" for service in SERVICES.values()]
    assert {one["metadata"]["name"] for one in of_kind(objects, "Deployment").values()} > set(targets)
    scales = [allowed.pop(("deployments/scale", verb)) for verb in ("get", "update")]
    assert [sorted(names or []) for names in scales] == [sorted(targets)] * 2
    lease = [told["TRICHORD_AUTOSCALER_LEASE"]]
    assert [allowed.pop(("leases", verb)) for verb in ("get", "update")] == [lease, lease]
    assert allowed == {("deployments", "list"): None, ("leases", "create"): None, ("events", "create"): None}


def test_rollouts_leave_a_way(objects: list[Object]) -> None:
    for deployment in of_kind(objects, "Deployment").values():
        rollout = deployment["spec"]["strategy"]["rollingUpdate"]
        assert (rollout["maxSurge"], rollout["maxUnavailable"]) in ((1, 0), (0, 1))


def test_pods_spread_over_zones_and_nodes(objects: list[Object]) -> None:
    for deployment in of_kind(objects, "Deployment").values():
        template = deployment["spec"]["template"]
        spread = template["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        for one in spread:
            assert selects(one["labelSelector"]["matchLabels"], template["metadata"]["labels"])


def test_the_gateway_is_evicted_last_and_what_works_on_jobs_first() -> None:
    objects = rendered("h100", JOBS)
    classes = {one["metadata"]["name"]: one["value"] for one in of_kind(objects, "PriorityClass").values()}
    of = {name: classes[spec["priorityClassName"]] for name, _, spec in pods(objects) if "priorityClassName" in spec}
    ranked = [name.removeprefix("blue-trichord-") for name in sorted(of, key=lambda name: of[name])]
    assert ranked == ["job-worker", "vision-encoder", "audio-encoder", "llm-decoder", "autoscaler", "gateway"]


def test_another_file_means_other_pods() -> None:
    """Plans and rules are read at start."""

    def annotations(service: str, values: dict[str, Any]) -> dict[str, str]:
        deployment = of_kind(rendered("cpu", values), "Deployment")[service]
        found = deployment["spec"]["template"]["metadata"].get("annotations", {})
        assert isinstance(found, dict)
        return found

    plans = [annotations("gateway", {"gateway": {"plans": {"default": {"a": n}}}}) for n in (1, 2, 2)]
    assert plans[0] != plans[1] == plans[2]
    rules = [annotations("autoscaler", {"autoscaler": {"rules": {"gpu_budget": n}}}) for n in (1, 2)]
    assert rules[0] != rules[1]


def test_a_worker_calls_gateways_one_by_one() -> None:
    """It speaks to no address that leads outside, and to all of them."""
    objects = rendered(values=JOBS)
    told = env(container(of_kind(objects, "Deployment")["job-worker"], "worker"))["TRICHORD_WORKER_GATEWAY"]
    service = of_kind(objects, "Service")["gateway-headless"]
    assert told == f"dns:///{service['metadata']['name']}.{NAMESPACE}.svc:50051"
    assert service["spec"]["clusterIP"] == "None"
    assert 50051 in [port["port"] for port in service["spec"]["ports"]]


def test_a_worker_that_is_not_there_is_not_scaled() -> None:
    names = next(
        rule["resourceNames"]
        for rule in of_kind(rendered("cpu"), "Role")["autoscaler"]["rules"]
        if "deployments/scale" in rule["resources"]
    )
    assert not [name for name in names if name.endswith("job-worker")]
    assert "job-worker" not in of_kind(rendered("h100"), "ScaledObject")
