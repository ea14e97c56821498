"""The last word on every tenant's budgets, for rate-limit headers. Bounded; knows nothing of HTTP."""

from __future__ import annotations

from gateway.admission.verdict import Budget, Verdict

MAX_TENANTS = 10_000


class Standing:
    """Forgets the tenant unheard of for longest beyond ``MAX_TENANTS``."""

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}

    def note(self, tenant: str, verdict: Verdict) -> None:
        """Keeps a decision, whatever it was."""
        self._verdicts.pop(tenant, None)
        self._verdicts[tenant] = verdict  # the newest is last
        if len(self._verdicts) > MAX_TENANTS:
            del self._verdicts[next(iter(self._verdicts))]

    def of(self, tenant: str) -> tuple[Budget, ...]:
        """The tenant's budgets as of its last request; none if it is unknown."""
        verdict = self._verdicts.get(tenant)
        return verdict.budgets if verdict else ()
