"""What every process is told of telemetry (``TRICHORD_TELEMETRY_*``): fronts, gateway, autoscaler and models alike."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings


class TelemetrySettings(Settings):
    """Where spans go, and how many. ``OTEL_RESOURCE_ATTRIBUTES`` adds to what they say of the process."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_TELEMETRY_")

    otlp_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Base URL of an OTLP/HTTP collector, as http://collector:4318; unset: nothing is recorded.",
    )
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of requests that are traced; a collector may drop more (tail sampling)."
    )
    trust_parent: bool = Field(
        False,
        description="At the edge, go on in a caller's trace and obey its sampling. Only behind a proxy of yours.",
    )
    max_queued_spans: int = Field(
        4096, ge=64, le=1 << 20, description="Spans that wait for the collector; more are dropped and counted."
    )
    export_interval_s: float = Field(1.0, gt=0, le=60, description="Seconds between two exports.")
    export_timeout_s: float = Field(3.0, gt=0, le=60, description="Longest that one export may take.")
