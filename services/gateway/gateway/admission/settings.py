"""What admission is told: the default plan, where other plans are, and the bounds of the lanes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from gateway.admission.plan import Budgets, Plan, Plans
from trichord.settings import Settings


class AdmissionSettings(Settings, Budgets):
    """Environment variables TRICHORD_ADMISSION_*; the budgets are those of the default plan."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_ADMISSION_")

    plans: Path | None = Field(None, description="YAML file of tenants with plans of their own; unset: none has.")
    local_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Fraction of every budget that one gateway hands out while Redis is away; 1/replicas is safe.",
    )
    fail_closed: bool = Field(False, description="Refuse all requests while Redis is away instead of guessing.")
    text_slots: int = Field(128, ge=1, le=10_000, description="Answers that this gateway has the decoders work on.")
    image_slots: int = Field(16, ge=1, le=10_000, description="Images that this gateway has encoded at once.")
    audio_slots: int = Field(16, ge=1, le=10_000, description="Sounds that this gateway has encoded at once.")
    max_queued: int = Field(1024, ge=0, le=100_000, description="Waiters in one lane, all tenants together.")
    max_queued_per_tenant: int = Field(
        256, ge=0, le=100_000, description="Waiters in one lane of one tenant; fewer when the queue fills."
    )
    batch_ageing_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Seconds after which waiting batch work counts as live, so that it never starves.",
    )

    def read_plans(self) -> Plans:
        """The plan of every tenant. Raises SettingsError saying what is wrong with the file."""
        default = Plan(**{name: getattr(self, name) for name in Plan.model_fields})
        return Plans.read(self.plans, default) if self.plans else Plans(default)
