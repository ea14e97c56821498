"""Plans: what a tenant may take a minute, how much at once, and its weight among others.

The default plan is in the settings; a YAML file may name tenants with plans of their own. Knows nothing of how budgets
are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.admission.cost import Amounts
from trichord import strict_yaml
from trichord.errors import SettingsError

MAX_RATE = 1_000_000_000
"""Largest budget a minute. Levels are kept in 1/60 000 of a unit, and Lua's numbers are exact up to 2^53 = 9.0e15: ten
minutes of debt (bucket.py) at this rate are 6e14."""

MAX_PLANS_BYTES = 1024 * 1024
"""Largest plans file: some ten thousand tenants."""

Rate = Annotated[int, Field(ge=0, le=MAX_RATE)]


class Budgets(BaseModel):
    """The fields of a plan. A budget of 0 allows nothing of its kind; a burst may take a whole minute's budget."""

    requests_per_min: Rate = Field(60_000, description="Requests a minute.")
    tokens_per_min: Rate = Field(100_000_000, description="Tokens a minute, of prompts and answers.")
    tiles_per_min: Rate = Field(1_000_000, description="Image tiles encoded a minute.")
    audio_seconds_per_min: int = Field(
        1_000_000, ge=0, le=MAX_RATE // 1000, description="Seconds of sound encoded a minute."
    )
    concurrency: int = Field(1024, ge=0, le=100_000, description="Requests in progress at once, on all gateways.")
    weight: int = Field(
        1, ge=1, le=1000, description="Share of a full lane, relative to the weights of the other tenants that wait."
    )


class Plan(Budgets):
    """One tenant's plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def limits(self) -> Amounts:
        """The budgets a minute, in the fixed order of amounts."""
        return (self.requests_per_min, self.tokens_per_min, self.tiles_per_min, self.audio_seconds_per_min * 1000)

    def share(self, fraction: float) -> Plan:
        """The plan with that fraction of every budget; what is not 0 stays at least 1."""
        names = [name for name in Plan.model_fields if name != "weight"]
        return self.model_copy(update={name: math.ceil(getattr(self, name) * fraction) for name in names})


class Plans:
    """The plan of every tenant."""

    def __init__(self, default: Plan, by_tenant: Mapping[str, Plan] | None = None) -> None:
        self._default, self._by_tenant = default, dict(by_tenant or {})

    def of(self, tenant: str) -> Plan:
        """The tenant's own plan, or the default."""
        return self._by_tenant.get(tenant, self._default)

    @classmethod
    def read(cls, path: Path, default: Plan) -> Self:
        """Reads ``tenants: {NAME: {tokens_per_min: ..., ...}}``; what a tenant's plan leaves out is the default's.

        Raises SettingsError saying which key is wrong.
        """
        try:
            given = _PlansFile.model_validate(strict_yaml.read(path, "Plans file", MAX_PLANS_BYTES)).tenants
        except ValidationError as error:
            raise _refusal(path, (), error) from error
        return cls(default, {tenant: _plan(path, tenant, fields, default) for tenant, fields in given.items()})


class _PlansFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tenants: dict[Annotated[str, Field(min_length=1, max_length=256)], dict[str, object]]


def _plan(path: Path, tenant: str, fields: Mapping[str, object], default: Plan) -> Plan:
    try:
        return Plan.model_validate({**default.model_dump(), **fields})
    except ValidationError as error:
        raise _refusal(path, ("tenants", tenant), error) from error


def _refusal(path: Path, prefix: tuple[str, ...], error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in (*prefix, *first["loc"]))
    return SettingsError(f"Plans file {path.name}: {key or 'the file'}: {first['msg']}.")
