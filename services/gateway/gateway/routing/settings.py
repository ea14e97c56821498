"""What the gateway is told about routing: few numbers, the same for every service behind it."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings


class RoutingSettings(Settings):
    """Environment variables TRICHORD_ROUTING_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_ROUTING_")

    resolve_interval_s: float = Field(
        10.0, gt=0, description="Seconds between two look-ups of a name, +-20 %; failures look it up at once."
    )
    stale_s: float = Field(
        300.0, gt=0, description="Seconds for which the replicas of a name that no longer resolves are kept."
    )
    drain_s: float = Field(
        300.0, gt=0, description="Seconds that calls have to end on a replica that left; the longest call's deadline."
    )
    max_attempts: int = Field(3, ge=1, le=5, description="Attempts of one call, the first included (gRFC A6: 5).")
    attempt_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Seconds that a replica has to begin its answer while another one could; above the slowest encode.",
    )
    retry_ratio: float = Field(0.1, ge=0, le=1, description="Retries that a service gets for each call, on average.")
    retry_min_per_s: float = Field(
        1.0, ge=0, description="Retries a second that a service gets beside the ratio: a quiet one can retry, too."
    )
    breaker_failures: int = Field(
        5, gt=0, description="Calls in a row that a replica has to fail for the next to go elsewhere."
    )
    breaker_open_s: float = Field(
        2.0, gt=0, description="Seconds until one call tries a failed replica again; a connection tries as often."
    )
    ejection_s: float = Field(
        10.0, gt=0, description="Seconds that a replica worse than its peers is left out, doubled each time."
    )
    max_ejected_share: float = Field(
        0.5, ge=0, le=1, description="Largest share of replicas left out for being worse than their peers."
    )
    load_factor: float = Field(
        1.25, ge=1, description="Calls that a conversation's own decoder may have, as a multiple of the average."
    )
