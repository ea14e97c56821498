"""Direct mode put together from the settings."""

from __future__ import annotations

from autoscaler import metrics
from autoscaler.direct.api import connect
from autoscaler.direct.deployments import Deployments
from autoscaler.direct.lease import Lease
from autoscaler.settings import AutoscalerSettings


def actuator(settings: AutoscalerSettings) -> Deployments:
    """Starts to stand for the Lease; needs a running event loop. Raises SettingsError without a cluster."""
    api = connect(settings.namespace)
    lease = Lease(api, settings.lease, settings.identity, settings.lease_s)
    metrics.leads_while(lambda: lease.remaining_s > 0)
    return Deployments(api, lease, settings.target_prefix)
