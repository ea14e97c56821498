"""Which processes a cluster has. Pure: nothing is started."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from local_cluster import preparation, topology
from local_cluster.process import DRAIN_TIMEOUT_S, Process
from local_cluster.stores import Stores
from local_cluster.topology import ClusterSpec, Places, Scaling
from trichord.triton.runtime import Triton

PLACES = Places(
    checkpoint=Path("/c/tiny"),
    triton=Triton(Path("/t/bin/tritonserver"), Path("/t/backends")),
    repositories=Path("/r/repositories"),
    shm_prefix="trichord-abc-",
    stores=Stores.of({}, Path("/r/stores"), "s3cret", "s" * 32),
)


@pytest.fixture
def processes() -> dict[str, Process]:
    return {process.name: process for process in topology.processes(7400, "float32", PLACES, cores=2)}


def test_three_tritons_and_two_stores_then_three_fronts_then_the_gateway(processes: dict[str, Process]) -> None:
    assert [(name, process.tier, process.readiness) for name, process in processes.items()] == [
        ("vision-encoder-triton", 0, "triton"),
        ("audio-encoder-triton", 0, "triton"),
        ("llm-decoder-triton", 0, "triton"),
        ("cache-store", 0, "redis"),
        ("state-store", 0, "redis"),
        ("vision-encoder", 1, "health"),
        ("audio-encoder", 1, "health"),
        ("llm-decoder", 1, "health"),
        ("gateway", 2, "health"),
    ]


@pytest.mark.parametrize("service", ["vision-encoder", "audio-encoder", "llm-decoder"])
def test_a_front_is_told_its_own_triton(processes: dict[str, Process], service: str) -> None:
    (told,) = [value for key, value in processes[service].env.items() if key.endswith("_TRITON")]
    assert told == f"127.0.0.1:{processes[f'{service}-triton'].port}"


def test_the_gateway_is_told_the_fronts(processes: dict[str, Process]) -> None:
    env = processes["gateway"].env
    assert env["TRICHORD_GATEWAY_LISTEN"] == "127.0.0.1:7400"
    for setting, front in (("VISION", "vision-encoder"), ("AUDIO", "audio-encoder"), ("DECODER", "llm-decoder")):
        assert env[f"TRICHORD_GATEWAY_{setting}"] == f"127.0.0.1:{processes[front].port}"


def test_the_gateway_is_told_its_stores(processes: dict[str, Process]) -> None:
    env = processes["gateway"].env
    for setting, store in (("CACHE_URL", "cache-store"), ("STATE_URL", "state-store")):
        assert env[f"TRICHORD_GATEWAY_{setting}"] == f"redis://:s3cret@127.0.0.1:{processes[store].port}/0"
    assert env["TRICHORD_GATEWAY_STORE_SECRET"] == "s" * 32


@pytest.mark.parametrize("service", ["vision-encoder", "audio-encoder", "llm-decoder"])
def test_a_fronts_page_of_metrics_carries_its_own_tritons(processes: dict[str, Process], service: str) -> None:
    front, triton = processes[service], processes[f"{service}-triton"]
    [listens] = [value for key, value in front.env.items() if key.endswith("_METRICS_LISTEN")]
    [carries] = [value for key, value in front.env.items() if key.endswith("_TRITON_METRICS")]
    assert listens == f"127.0.0.1:{front.metrics_port}"
    assert carries == f"http://127.0.0.1:{triton.metrics_port}/metrics"
    assert f"--metrics-port={triton.metrics_port}" in triton.argv


def test_the_gateway_and_the_autoscaler_have_a_page_of_metrics(processes: dict[str, Process]) -> None:
    for process in (processes["gateway"], topology.autoscaler(7400, SCALED)):
        setting = f"TRICHORD_{process.name.upper()}_METRICS_LISTEN"
        assert process.env[setting] == f"127.0.0.1:{process.metrics_port}"


TRACED = replace(PLACES, otlp_url="http://127.0.0.1:7407", keeps_traces=True)


def test_a_cluster_that_keeps_its_traces_tells_every_process_where() -> None:
    traced = {process.name: process for process in topology.processes(7400, "float32", TRACED, cores=2)}
    keeper = traced.pop("traces")
    assert (keeper.port, keeper.readiness, keeper.tier) == (7407, "http", 0)
    assert keeper.env["TRICHORD_TRACES_PORT"] == "7407"
    assert f"http://{topology.traces_address(7400)}" == TRACED.otlp_url
    told = {name for name, process in traced.items() if process.env.get(topology.OTLP_SETTING) == TRACED.otlp_url}
    assert told == set(traced) - {"cache-store", "state-store"}
    for name in ("vision-encoder-triton", "audio-encoder-triton", "llm-decoder-triton"):
        assert "--trace-config=opentelemetry,url=http://127.0.0.1:7407/v1/traces" in traced[name].argv
    assert traced["gateway"].env["TRICHORD_HTTP_TRACES_URL"] == "http://127.0.0.1:7407/traces/{trace_id}"
    taken = topology.ports([keeper, *traced.values(), topology.autoscaler(7400, replace(SCALED, keeps_traces=True))])
    assert len(taken) == len(topology.ports(traced.values())) + 1 + 3


def test_spans_that_go_elsewhere_need_no_keeper_and_those_that_go_nowhere_are_not_made() -> None:
    for url in ("http://collector:4318", ""):
        places = replace(PLACES, otlp_url=url)
        elsewhere = {process.name: process for process in topology.processes(7400, "float32", places, cores=2)}
        assert "traces" not in elsewhere
        assert elsewhere["gateway"].env[topology.OTLP_SETTING] == url
        assert "TRICHORD_HTTP_TRACES_URL" not in elsewhere["gateway"].env
        argv = " ".join(elsewhere["llm-decoder-triton"].argv)
        assert ("opentelemetry,url=http://collector:4318/v1/traces" in argv) == bool(url)


def test_replicas_and_what_scales_them_send_their_spans_too() -> None:
    scaled = replace(SCALED, otlp_url="http://127.0.0.1:7407", keeps_traces=True)
    every = [topology.autoscaler(7400, scaled)]
    for slots in topology.replicas(7400, "float32", scaled, cores=2).values():
        every += [process for slot in slots for process in slot]
    assert {process.env[topology.OTLP_SETTING] for process in every} == {"http://127.0.0.1:7407"}


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, ("http://127.0.0.1:7407", True)), ("", ("", False)), ("http://c:4318", ("http://c:4318", False))],
)
def test_a_person_says_where_spans_go(
    monkeypatch: pytest.MonkeyPatch, named: str | None, expected: tuple[str, bool]
) -> None:
    monkeypatch.delenv(topology.OTLP_SETTING, raising=False)
    if named is not None:
        monkeypatch.setenv(topology.OTLP_SETTING, named)
    assert preparation.where_spans_go(ClusterSpec(checkpoint=Path("/c/tiny"))) == expected


def test_only_the_decoder_may_use_every_core(processes: dict[str, Process]) -> None:
    threads = {name: process.env["OMP_NUM_THREADS"] for name, process in processes.items()}
    assert {name for name, number in threads.items() if number != "1"} == {"llm-decoder-triton"}
    assert threads["llm-decoder-triton"] == processes["llm-decoder-triton"].env["TRICHORD_MODEL_THREADS"] == "2"


def test_every_process_runs_in_the_same_dtype(processes: dict[str, Process]) -> None:
    dtypes = {key: value for p in processes.values() for key, value in p.env.items() if key.endswith("_DTYPE")}
    assert len(dtypes) == 4
    assert set(dtypes.values()) == {"float32"}


def test_no_two_processes_share_a_port_or_shared_memory(processes: dict[str, Process]) -> None:
    taken = topology.ports(processes.values())
    # The gateway's HTTP, every Triton's metrics, every front's and the gateway's.
    assert len(taken) == 9 + 1 + 3 + 4
    assert min(taken) == 7400
    assert max(taken) <= 7400 + 23
    prefixes = [process.shm_prefix for process in processes.values() if process.shm_prefix]
    assert len(set(prefixes)) == 3
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)


def test_a_stop_takes_less_than_ten_seconds(processes: dict[str, Process]) -> None:
    tiers = {process.tier for process in processes.values()}
    worst_s = sum(max(p.stop_timeout_s for p in processes.values() if p.tier == tier) for tier in tiers)
    assert worst_s <= 9.5


def test_every_setting_is_one_that_its_service_knows(
    processes: dict[str, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_encoder.settings import AudioSettings
    from gateway.settings import GatewaySettings
    from llm_decoder.settings import DecoderSettings
    from trichord.settings import ModelSettings, ServiceSettings
    from vision_encoder.settings import VisionSettings

    for variable in [name for name in os.environ if name.startswith("TRICHORD_")]:
        monkeypatch.delenv(variable)
    for process in processes.values():
        for name, value in process.env.items():
            monkeypatch.setenv(name, value)
    for settings in (VisionSettings, AudioSettings, DecoderSettings, GatewaySettings):
        read = settings.from_environment()
        assert isinstance(read, ServiceSettings)
        assert read.drain_timeout_s == DRAIN_TIMEOUT_S
    assert ModelSettings.from_environment().checkpoint == PLACES.checkpoint


SCALING = Scaling(3, Path("/r/targets"), Path("/r/control.sock"), Path("/r/rules.yaml"))
SCALED = replace(PLACES, scaling=SCALING)


@pytest.fixture
def replicas() -> dict[str, list[tuple[Process, ...]]]:
    return topology.replicas(7400, "float32", SCALED, cores=2)


def test_scaled_encoders_are_not_there_at_first_and_text_is() -> None:
    fixed = [process.name for process in topology.processes(7400, "float32", SCALED, cores=2)]
    assert fixed == ["llm-decoder-triton", "cache-store", "state-store", "llm-decoder", "gateway"]
    assert topology.replicas(7400, "float32", PLACES, cores=2) == {}


def test_every_replica_has_its_own_names_ports_and_memory(replicas: dict[str, list[tuple[Process, ...]]]) -> None:
    fixed = topology.processes(7400, "float32", SCALED, cores=2)
    every = [*fixed, topology.autoscaler(7400, SCALED)]
    every += [process for slots in replicas.values() for slot in slots for process in slot]
    assert [process.name for process in replicas["vision-encoder"][1]] == [
        "vision-encoder-2-triton",
        "vision-encoder-2",
    ]
    assert len({process.name for process in every}) == len(every) == 6 + 2 * 3 * 2
    # All but the stores have a page of metrics; the gateway and the autoscaler speak HTTP too.
    taken = topology.ports(every)
    assert len(taken) == len(every) + (len(every) - 2) + 2
    assert max(taken) <= 7400 + 23 + 12 * 2
    prefixes = [process.shm_prefix for process in every if process.shm_prefix]
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)


def test_a_replicas_front_is_told_its_own_triton_and_gets_time_to_drain(
    replicas: dict[str, list[tuple[Process, ...]]],
) -> None:
    for triton, front in replicas["audio-encoder"]:
        assert front.env["TRICHORD_AUDIO_TRITON"] == f"127.0.0.1:{triton.port}"
        assert float(front.env["TRICHORD_AUDIO_DRAIN_TIMEOUT_S"]) == topology.REPLICA_DRAIN_S


def test_a_scaled_clusters_gateway_follows_files_and_its_autoscaler_reads_the_same_state() -> None:
    env = next(p for p in topology.processes(7400, "float32", SCALED, cores=2) if p.name == "gateway").env
    assert env["TRICHORD_GATEWAY_VISION"] == "file:///r/targets/vision-encoder"
    assert env["TRICHORD_WAKING_AUTOSCALED"] == "true"
    told = topology.autoscaler(7400, SCALED).env
    assert told["TRICHORD_AUTOSCALER_STATE_URL"] == env["TRICHORD_GATEWAY_STATE_URL"]
    named = Stores.of({"TRICHORD_GATEWAY_STATE_URL": "redis://elsewhere"}, Path("/r/stores"), "s3cret", "s" * 32)
    elsewhere = topology.autoscaler(7400, replace(SCALED, stores=named)).env
    assert elsewhere["TRICHORD_AUTOSCALER_STATE_URL"] == "redis://elsewhere"


def test_the_autoscaler_and_the_gateways_waking_know_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from autoscaler.settings import AutoscalerSettings
    from gateway.waking.settings import WakingSettings

    gateway = topology.processes(7400, "float32", SCALED, cores=2)[-1]
    for process in (gateway, topology.autoscaler(7400, SCALED)):
        for name, value in process.env.items():
            monkeypatch.setenv(name, value)
    assert AutoscalerSettings.from_environment().control_socket == SCALING.control_socket
    assert WakingSettings.from_environment().autoscaled


def test_the_shm_prefix_is_the_clusters_own_and_stays() -> None:
    one, other = (topology.shm_prefix(Path(f"/home/run/{name}")) for name in ("one", "other"))
    assert one == topology.shm_prefix(Path("/home/run/one")) != other


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"name": "../x"}, id="a name that is a path"),
        pytest.param({"name": ""}, id="an empty name"),
        pytest.param({"port": 80}, id="a privileged port"),
        pytest.param({"port": 65530}, id="no room above the port"),
        pytest.param({"dtype": "float16"}, id="an unknown dtype"),
        pytest.param({"colour": "red"}, id="an unknown field"),
    ],
)
def test_a_senseless_spec_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClusterSpec.model_validate({"checkpoint": "/c/tiny", **fields})
