"""Which actuator the settings name, made. What it needs is imported only where it is used."""

from __future__ import annotations

from autoscaler import metrics
from autoscaler.actuator import Actuator
from autoscaler.keda import AskedByKeda
from autoscaler.settings import AutoscalerSettings
from trichord.errors import SettingsError


def actuator(settings: AutoscalerSettings) -> Actuator:
    """Needs a running event loop. Raises SettingsError if the environment lacks what the mode needs."""
    if settings.mode == "kubernetes":
        from autoscaler.direct import opening

        return opening.actuator(settings)
    metrics.leads_while(lambda: True)
    if settings.mode == "local":
        return _supervised(settings)
    return AskedByKeda()


def _supervised(settings: AutoscalerSettings) -> Actuator:
    from autoscaler.supervised import Supervised

    if settings.control_socket is None:
        raise SettingsError("Set TRICHORD_AUTOSCALER_CONTROL_SOCKET: mode local needs the supervisor's socket.")
    return Supervised(settings.control_socket)
