"""The example of a collector: whole by its own references, and about attributes that our spans have."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.k8s.charts import ROOT
from tests.k8s.promql import RULES
from trichord.telemetry import names

FOLDER = ROOT / "deploy" / "observability" / "collector"
TIERS = {path.stem.removeprefix("values-"): yaml.safe_load(path.read_text()) for path in FOLDER.glob("values-*.yaml")}


@pytest.mark.parametrize("tier", TIERS)
def test_pipelines_are_of_what_is_configured(tier: str) -> None:
    """Each part is defined and used; memory is limited first, and batches are made last."""
    config = TIERS[tier]["alternateConfig"]
    (pipeline,) = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert sorted(pipeline[kind]) == sorted(config[kind])
    assert config["service"]["extensions"] == list(config["extensions"])
    assert pipeline["processors"][0] == "memory_limiter"
    assert pipeline["processors"][-1] == "batch"


def test_a_trace_goes_to_one_sampler() -> None:
    gateway, sampler = TIERS["gateway"], TIERS["sampler"]
    balancing = gateway["alternateConfig"]["exporters"]["loadbalancing"]
    assert balancing["routing_key"] == "traceID"
    assert balancing["resolver"]["dns"]["hostname"].partition(".")[0] == sampler["fullnameOverride"]
    assert sampler["service"]["clusterIP"] == "None"
    assert sampler["alternateConfig"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(":4317")
    assert gateway["alternateConfig"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")


def policies() -> dict[str, Any]:
    sampling = TIERS["sampler"]["alternateConfig"]["processors"]["tail_sampling"]
    return {policy["type"]: policy[policy["type"]] for policy in sampling["policies"]}


def test_what_is_kept() -> None:
    """Errors, first tokens later than the objective says, and a little of the rest."""
    kept = policies()
    assert kept["status_code"] == {"status_codes": ["ERROR"]}
    late_s = RULES.read_text().partition('le="')[2].partition('"')[0]
    assert kept["ottl_condition"]["span"] == [f'attributes["{names.TIME_TO_FIRST_CHUNK}"] > {late_s}']
    assert kept["probabilistic"] == {"sampling_percentage": 1}
    assert len(kept) == 3
