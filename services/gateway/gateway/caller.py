"""On whose behalf something is done: what every hop of one request needs to know of it."""

from __future__ import annotations

from typing import NamedTuple

from gateway.admission.priority_queue import Priority
from gateway.deadline import Deadline
from gateway.identity.principal import Principal


class Caller(NamedTuple):
    """One request's caller."""

    principal: Principal
    priority: Priority
    deadline: Deadline

    @property
    def tenant(self) -> str:
        """Whose budgets, caches and handles are used."""
        return self.principal.tenant
