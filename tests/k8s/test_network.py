"""Who may talk to whom: evaluated as a network plugin would, not compared as text."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from tests.k8s.charts import EDGES, JOBS, Object, containers, of_kind, pods, rendered

MODALITIES = ("vision-encoder", "audio-encoder", "llm-decoder")
NODE = "a pod of another release"


class Network:
    """The policies and pods of a release."""

    def __init__(self, objects: list[Object]) -> None:
        self.policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
        self.labels = {name.removeprefix("blue-trichord-"): m["labels"] for name, m, _ in pods(objects)}
        self.specs = {name.removeprefix("blue-trichord-"): spec for name, _, spec in pods(objects)}

    def allows(self, source: str, target: str, port: int) -> bool:
        """Whether a connection between two pods of the namespace would come about."""
        return self._side("egress", source, target, port) and self._side("ingress", target, source, port)

    def _side(self, direction: str, own: str, other: str, port: int) -> bool:
        listener = own if direction == "ingress" else other
        rules = [rule for policy in self._of(own, direction) for rule in policy.get(direction) or []]
        peers = "from" if direction == "ingress" else "to"
        return any(self._port(listener, rule, port) and self._peer(rule.get(peers) or None, other) for rule in rules)

    def _of(self, name: str, direction: str) -> list[Any]:
        return [
            policy
            for policy in self.policies
            if direction.title() in policy["policyTypes"]
            and policy["podSelector"]["matchLabels"].items() <= self.labels.get(name, {}).items()
        ]

    def _port(self, listener: str, rule: Any, port: int) -> bool:
        spec = self.specs.get(listener, {"containers": []})
        named = {p["name"]: p["containerPort"] for one in containers(spec) for p in one.get("ports", [])}
        return "ports" not in rule or any(named.get(one["port"], one["port"]) == port for one in rule["ports"])

    def _peer(self, peers: list[Any] | None, name: str) -> bool:
        if peers is None:
            return True
        pods_here = [peer for peer in peers if set(peer) == {"podSelector"}]
        labels = self.labels.get(name, {})
        return any(peer["podSelector"].get("matchLabels", {}).items() <= labels.items() for peer in pods_here)


@pytest.fixture(scope="module")
def network() -> Network:
    """A trial with everything in the cluster, and an autoscaler."""
    return Network(rendered("dev", {"autoscaler": {"mode": "kubernetes"}}))


EXPECTED = {
    *{("gateway", name, 50051) for name in MODALITIES},
    ("gateway", "cache-store", 6379),
    ("gateway", "state-store", 6379),
    ("autoscaler", "state-store", 6379),
    ("test-ask-grpc", "gateway", 50051),
    ("test-ask-grpc", "gateway", 8080),
    ("test-ask-http", "gateway", 50051),
    ("test-ask-http", "gateway", 8080),
}


def test_pods_of_a_release_reach_what_they_need_and_nothing_else(network: Network) -> None:
    assert connections(network) == EXPECTED


@pytest.mark.parametrize("clients", [[], [{"namespaceSelector": {"matchLabels": {"team": "web"}}}]])
def test_a_worker_reaches_gateways_alone_and_nobody_reaches_it(clients: list[Object]) -> None:
    values = {"autoscaler": {"mode": "kubernetes"}, "networkPolicy": {"clientsFrom": clients}, **JOBS}
    assert connections(Network(rendered("dev", values))) == EXPECTED | {("job-worker", "gateway", 50051)}


def connections(network: Network) -> set[tuple[str, str, int]]:
    """Every source, target and port of a connection that would come about."""
    every = sorted(network.specs)
    listening = {
        name: {port["containerPort"] for one in containers(network.specs[name]) for port in one.get("ports", [])}
        for name in every
    }
    return {
        (source, target, port)
        for source in every
        for target in every
        if source != target
        for port in {*listening[target], 8001}
        if network.allows(source, target, port)
    }


def test_every_pod_is_closed_both_ways_by_default(objects: list[Object]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        return  # somebody else's work, by values
    network = Network(objects)
    everything = policies["default-deny"]["spec"]
    assert "ingress" not in everything
    assert "egress" not in everything
    for name in network.specs:
        assert len(network._of(name, "ingress")) == len(network._of(name, "egress")) == 2, name


def test_triton_listens_where_no_policy_is_needed(objects: list[Object]) -> None:
    """Its ports are on loopback: no plugin has to be trusted with them."""
    for _, _, spec in pods(objects):
        for one in spec.get("initContainers", []):
            if one["name"] == "triton":
                assert {"--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"} <= set(one["args"])
                assert "ports" not in one


def public(policy: Object) -> list[Any]:
    """Rules that lead to addresses instead of pods."""
    return [rule for rule in policy["spec"]["egress"] if any("ipBlock" in peer for peer in rule.get("to") or [])]


def test_urls_are_fetched_from_the_internet_alone() -> None:
    """Of all that the URL fetcher may reach, nothing is private: neither a metadata service nor the cluster."""
    assert public(of_kind(rendered(), "NetworkPolicy")["gateway"]) == []
    values = {**EDGES["everything"]["networkPolicy"], "redisTo": []}
    (rule,) = public(of_kind(rendered(values={"networkPolicy": values}), "NetworkPolicy")["gateway"])
    assert [port["port"] for port in rule["ports"]] == [443]
    blocks = [peer["ipBlock"] for peer in rule["to"]]
    for address in ("169.254.169.254", "10.0.0.1", "172.20.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "fd00::1"):
        assert not any(_holds(block, address) for block in blocks), address
    for address in ("1.1.1.1", "151.101.1.1", "2606:4700::1111"):
        assert any(_holds(block, address) for block in blocks), address


def _holds(block: Any, address: str) -> bool:
    at = ipaddress.ip_address(address)
    networks = [ipaddress.ip_network(cidr) for cidr in (block["cidr"], *block.get("except", []))]
    inside = [at in network for network in networks if network.version == at.version]
    return bool(inside) and networks[0].version == at.version and inside[0] and not any(inside[1:])


def test_egress_of_encoders_is_names_alone(profile: str) -> None:
    for name in MODALITIES:
        policy = of_kind(rendered(profile), "NetworkPolicy")[name]
        assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53}


def test_pulling_opens_what_is_told_and_only_then() -> None:
    pulling = of_kind(rendered(values=EDGES["hub"]), "NetworkPolicy")["vision-encoder"]
    ports = [port["port"] for rule in pulling["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 443]


def test_who_else_may_come_is_told_by_values() -> None:
    objects = rendered(values=EDGES["everything"])
    policies = of_kind(objects, "NetworkPolicy")
    clients, _ = policies["gateway"]["spec"]["ingress"]
    assert {"namespaceSelector": {"matchLabels": {"team": "web"}}} in clients["from"]
    assert len(clients["from"]) == 3, "and the pods of helm test, and workers"
    keda, _ = policies["autoscaler"]["spec"]["ingress"]
    assert keda["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert {"ports": [{"port": 9092}]} in policies["gateway"]["spec"]["egress"]
    redis = [r for r in policies["gateway"]["spec"]["egress"] if [p["port"] for p in r["ports"]] == [6379]]
    assert [rule["to"] for rule in redis] == [[{"ipBlock": {"cidr": "10.1.2.3/32"}}]]
    for name in ("gateway", "job-worker"):
        ways = [(_ports(r), r["to"]) for r in policies[name]["spec"]["egress"] if public({"spec": {"egress": [r]}})]
        assert ([9093], [{"ipBlock": {"cidr": "10.1.2.4/30"}}]) in ways
        assert ([443], [{"ipBlock": {"cidr": "10.1.3.0/24"}}]) in ways


OURS = ("autoscaler", "gateway", "job-worker", *MODALITIES)
MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_metrics_are_for_who_watches() -> None:
    """One page a pod, and only of our own processes."""
    policies = of_kind(rendered("dev", {"autoscaler": {"mode": "kubernetes"}, **JOBS}), "NetworkPolicy")
    readers = {
        name: [rule["from"] for rule in policy["spec"].get("ingress", []) if _ports(rule) == ["metrics"]]
        for name, policy in policies.items()
    }
    assert {name: found for name, found in readers.items() if found} == {name: [MONITORING] for name in OURS}
    nobody = rendered("dev", {"networkPolicy": {"monitoringFrom": []}, "autoscaler": {"mode": "kubernetes"}})
    assert of_kind(nobody, "NetworkPolicy")["autoscaler"]["spec"]["ingress"] == []


def _ports(rule: Any) -> list[Any]:
    return [port["port"] for port in rule["ports"]]


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://otel.obs.svc:4318", 4318), ("https://otel2.example.com", 443), ("http://otel2/", 80), ("", None)],
)
def test_spans_may_go_to_the_collector(url: str, port: int | None) -> None:
    """On its port alone; and to nobody where there is none."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}
    values = {
        "telemetry": {"otlpUrl": url},
        "networkPolicy": {"collectorTo": [peer]},
        "autoscaler": {"mode": "kubernetes"},
        "valkey": {"enabled": True},
        **JOBS,
    }
    policies = of_kind(rendered(values=values), "NetworkPolicy")
    told = {name: [r for r in one["spec"].get("egress", []) if r.get("to") == [peer]] for name, one in policies.items()}
    allowed = {name: [_ports(rule) for rule in rules] for name, rules in told.items() if rules}
    assert allowed == ({name: [[port]] for name in OURS} if port else {})
