"""What every handler has at hand: who answers, who checks keys, what is kept, and how far the drain is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateway.admission.verdict import Budget
from gateway.identity.guard import Call
from gateway.identity.principal import Principal, Scope
from gateway.openai_http.answering import Core
from gateway.openai_http.body import BodyBudget
from gateway.openai_http.connection import Drain
from gateway.openai_http.idempotency import IdempotencyStore, MemoryIdempotency
from gateway.openai_http.job_desk import JobDesk
from gateway.openai_http.settings import HttpSettings
from trichord.errors import FeatureOffError

MS_PER_S = 1000

Admit = Callable[[Call, Scope | None], Awaitable[Principal]]
"""Who calls, if they may do what needs a scope; ``Guard.admit`` is one. Raises UnauthenticatedError, ForbiddenError."""

Standing = Callable[[str], Sequence[Budget]]
"""How a tenant's budgets stand; ``admission.Standing.of`` is one."""


def unknown_standing(_: str) -> Sequence[Budget]:
    """Nothing to tell."""
    return ()


@dataclass
class Desk:
    """Made once for a process."""

    settings: HttpSettings
    core: Core
    admit: Admit
    standing: Standing = unknown_standing
    idempotency: IdempotencyStore | None = None
    job_desk: JobDesk | None = None
    """None where jobs are off."""
    drain: Drain = field(default_factory=Drain)
    trusts_parent: bool = False
    """Whether a caller's trace goes on here, and its sampling is obeyed; see ``TelemetrySettings``."""

    def __post_init__(self) -> None:
        self.bodies = BodyBudget(self.settings.max_buffered_bytes)
        self.kept: IdempotencyStore = self.idempotency or MemoryIdempotency(
            self.settings.idempotency_bytes, self.settings.idempotency_ttl_s
        )

    @property
    def jobs(self) -> JobDesk:
        """What files and batches need. Raises FeatureOffError where jobs are off."""
        if self.job_desk is None:
            raise FeatureOffError("Files and batches are off in this deployment: it has no jobs.")
        return self.job_desk


def rate_limit_headers(budgets: Sequence[Budget]) -> dict[str, str]:
    """OpenAI's x-ratelimit headers, for budgets that OpenAI does not have by the same pattern."""
    told = {}
    for budget in budgets:
        if not budget.limit:
            continue
        unit = MS_PER_S if budget.quota == "audio_seconds" else 1
        name = budget.quota.replace("_", "-")
        told[f"x-ratelimit-limit-{name}"] = str(budget.limit // unit)
        told[f"x-ratelimit-remaining-{name}"] = str(max(0, budget.remaining // unit))
        told[f"x-ratelimit-reset-{name}"] = f"{budget.reset_ms()}ms"
    return told
