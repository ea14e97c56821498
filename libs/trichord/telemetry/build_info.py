"""Which program a metrics page is of."""

from __future__ import annotations

from prometheus_client import Info

import trichord

BUILD = Info("trichord_build", "Always 1; the labels tell the service and its version.")


def tell(service: str) -> None:
    """Says so on this process's page."""
    BUILD.info({"service": service, "version": trichord.__version__})
