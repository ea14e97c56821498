"""Every setting of every process says what it is for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import audio_encoder.settings
import autoscaler.settings
import gateway.admission.settings
import gateway.fetch.settings
import gateway.identity.settings
import gateway.openai_http.settings
import gateway.routing.settings
import gateway.settings
import gateway.waking.settings
import job_worker.settings
import llm_decoder.loading
import llm_decoder.settings
import local_cluster.traces.settings
import vision_encoder.settings
from trichord.jobs.settings import JobsSettings
from trichord.jobs.usage.settings import UsageSettings
from trichord.settings import FrontSettings, ModelSettings, ServiceSettings, Settings
from trichord.telemetry.settings import TelemetrySettings
from trichord.tls import TlsSettings

SERVICES = (
    gateway.settings.GatewaySettings,
    gateway.admission.settings.AdmissionSettings,
    gateway.routing.settings.RoutingSettings,
    gateway.fetch.settings.FetchSettings,
    gateway.openai_http.settings.HttpSettings,
    gateway.waking.settings.WakingSettings,
    vision_encoder.settings.VisionSettings,
    audio_encoder.settings.AudioSettings,
    autoscaler.settings.AutoscalerSettings,
    llm_decoder.settings.DecoderSettings,
    job_worker.settings.WorkerSettings,
    local_cluster.traces.settings.TracesSettings,
)
SHARED = (ServiceSettings, FrontSettings, ModelSettings, TelemetrySettings, TlsSettings, JobsSettings, UsageSettings)
CLASSES = (*SERVICES, *SHARED, gateway.identity.settings.AuthSettings, llm_decoder.loading.EngineSettings)


def below(cls: type[Settings]) -> Iterator[type[Settings]]:
    for child in cls.__subclasses__():
        yield child
        yield from below(child)


def test_no_class_is_forgotten_here() -> None:
    ours = {cls for cls in below(Settings) if not cls.__module__.startswith("tests.") and "test_" not in cls.__module__}
    assert ours == set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_described(cls: type[Settings]) -> None:
    assert cls.model_fields
    for name, field in cls.model_fields.items():
        description = field.description or ""
        assert description.endswith("."), f"{cls.__name__}.{name} has no description, or not a sentence"


def test_no_two_services_read_the_same_variables() -> None:
    prefixes = [str(cls.model_config["env_prefix"]) for cls in SERVICES]
    assert len(set(prefixes)) == len(prefixes)
    assert all(prefix.startswith("TRICHORD_") for prefix in prefixes)
