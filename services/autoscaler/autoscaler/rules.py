"""What an operator says of scaling: rules for each modality, and how many GPUs there are for all of them together.

Read from a YAML file; a key that is unknown, given twice or out of range is an error that names it. Knows nothing of
how the rules are applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trichord import strict_yaml
from trichord.demand import Modality
from trichord.errors import SettingsError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Rules(_Section):
    """Of one modality. Costs are in its unit (trichord.demand.UNITS)."""

    min_replicas: int = Field(default=0, ge=0, le=10_000, description="Never fewer; 0 lets it sleep.")
    max_replicas: int = Field(default=8, ge=1, le=10_000, description="Never more.")
    default_rate: float = Field(
        default=10.0,
        gt=0,
        le=1e9,
        description="Cost a second that one busy replica does, assumed until it was measured.",
    )
    startup_s: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds from asking for a replica until it is ready."
    )
    drain_s: float = Field(
        default=5.0, gt=0, le=3600, description="Seconds in which waiting and running work should be done."
    )
    slo_queue_p95_ms: float = Field(
        default=1000.0,
        gt=0,
        le=1e7,
        description="Milliseconds that 95 % of the work may wait at most; of workers, the age of the oldest job.",
    )
    use_up: float = Field(
        default=0.8, gt=0, le=1, description="Share of its rate that a replica is planned for at most."
    )
    use_down: float = Field(
        default=0.6, gt=0, le=1, description="Fewer replicas only if those that stay are then used no more than this."
    )
    kv_up: float = Field(
        default=0.85, gt=0, le=1, description="Share of the KV cache that may be in use at most (decoder)."
    )
    kv_down: float = Field(default=0.6, gt=0, le=1, description="The same for having fewer replicas.")
    down_window_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="Fewer replicas only than were needed at any time in so many seconds.",
    )
    step_up: int = Field(
        default=4, ge=1, le=10_000, description="Replicas that may start at once; as many as are ready may in any case."
    )
    step_down: int = Field(default=1, ge=1, le=10_000, description="Replicas that end at once.")
    step_down_every_s: float = Field(default=60.0, ge=0, le=86_400, description="Seconds between two such steps.")
    idle_s: float = Field(default=300.0, ge=0, le=86_400, description="Seconds without any work after which it sleeps.")
    stale_s: float = Field(default=15.0, gt=0, le=3600, description="Seconds that the newest report is believed.")
    gpus_per_replica: float = Field(default=1.0, ge=0, le=64, description="GPUs, or shares of one (MIG); 0 on CPU.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="Who gets the last GPUs: the highest.")

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        for low, high in (("min_replicas", "max_replicas"), ("use_down", "use_up"), ("kv_down", "kv_up")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is larger than {high}")
        return self


DEFAULTS: Final[dict[Modality, Rules]] = {
    "vision": Rules(default_rate=8.0, priority=1),
    "audio": Rules(default_rate=30.0, priority=1),
    "decoder": Rules(min_replicas=1, default_rate=2000.0, startup_s=60.0, drain_s=20.0, priority=2),
    "gateway": Rules(min_replicas=1, default_rate=50.0, startup_s=5.0, gpus_per_replica=0.0, priority=3),
    "worker": Rules(
        max_replicas=4,
        default_rate=1.0,
        startup_s=10.0,
        drain_s=300.0,
        slo_queue_p95_ms=7_200_000.0,
        down_window_s=60.0,
        idle_s=60.0,
        gpus_per_replica=0.0,
    ),
}
"""Text never sleeps and comes first: the decoder and the gateway keep one replica. Rates are careful guesses of an
encoder and a small decoder on one GPU, and give way to measured ones within seconds of work. A worker's stays as it is
told: workers do what live requests leave them, so that a measured one would fall with each more and ask for another."""


class FleetRules(_Section):
    """Of all modalities together; those that are not named are not scaled."""

    gpu_budget: float | None = Field(
        default=None, ge=0, le=1e6, description="GPUs for all modalities; unset: no limit."
    )
    modalities: dict[Modality, Rules] = Field(default_factory=lambda: dict(DEFAULTS), min_length=1)

    @model_validator(mode="after")
    def _minimum_fits(self) -> Self:
        least = sum(rules.min_replicas * rules.gpus_per_replica for rules in self.modalities.values())
        if self.gpu_budget is not None and least > self.gpu_budget:
            raise ValueError(f"the smallest numbers of replicas need {least:g} GPUs, more than gpu_budget")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file; a modality's keys that are not given keep the defaults of that modality.

        Raises SettingsError saying which key is wrong.
        """
        told = strict_yaml.read(path, "Scaling rules")
        try:
            return cls.model_validate(_with_defaults(told))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"Scaling rules {path.name}: {key or 'the file'}: {first['msg']}.") from error


def _with_defaults(told: object) -> object:
    """``told`` with the shipped defaults under each modality's keys; anything of another shape stays to be refused."""
    if not isinstance(told, dict) or not isinstance(told.get("modalities"), dict):
        return told
    defaults: dict[str, Rules] = {str(name): rules for name, rules in DEFAULTS.items()}
    filled = {
        name: {**defaults[name].model_dump(), **(rules or {})}
        if name in defaults and isinstance(rules, dict | None)
        else rules
        for name, rules in told["modalities"].items()
    }
    return {**told, "modalities": filled}
