"""For whom a worker asks: two headers, of metadata or HTTP, that the gateway takes from a key of the scope ``work``.

Knows neither keys nor tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

TENANT_HEADER = "x-trichord-tenant"
JOB_HEADER = "x-trichord-job"


class OnBehalf(NamedTuple):
    """As it was told; not checked."""

    tenant: str
    job_id: str

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What ``read`` reads."""
        return (TENANT_HEADER, self.tenant), (JOB_HEADER, self.job_id)


def read(headers: Iterable[tuple[str, str | bytes]]) -> OnBehalf | None:
    """What headers say; None if they say nothing of it. What is missing, or there twice, is empty."""
    told = [(name, value) for name, value in headers if name in (TENANT_HEADER, JOB_HEADER)]
    return OnBehalf(_only(told, TENANT_HEADER), _only(told, JOB_HEADER)) if told else None


def _only(headers: Iterable[tuple[str, str | bytes]], wanted: str) -> str:
    values = [value for name, value in headers if name == wanted]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""
