"""Makes the front door from settings. The only module here that knows them all."""

from __future__ import annotations

from gateway.admission.admission import Admission
from gateway.admission.lane import Lane, LaneBounds
from gateway.admission.lanes import LaneName, Lanes
from gateway.admission.limiter import FallbackLimiter, Limiter, LocalLimiter
from gateway.admission.redis_limiter import RedisLimiter
from gateway.admission.settings import AdmissionSettings
from trichord.redis_link import RedisLink


def open_admission(settings: AdmissionSettings, link: RedisLink | None) -> Admission:
    """Admission with budgets in the Redis of ``link``; without one, this gateway is the only one and keeps them itself.

    Raises SettingsError if the plans file is wrong.
    """
    plans = settings.read_plans()
    slots: dict[LaneName, int] = {
        "text": settings.text_slots,
        "image": settings.image_slots,
        "audio": settings.audio_slots,
    }
    lanes = {name: Lane(name, _bounds(settings, num_slots)) for name, num_slots in slots.items()}
    return Admission(_limiter(settings, link), plans, Lanes(lanes, plans))


def _limiter(settings: AdmissionSettings, link: RedisLink | None) -> Limiter:
    if link is None:
        return LocalLimiter(share=1.0)
    shared = RedisLimiter(link)
    if settings.fail_closed:
        return shared
    return FallbackLimiter(shared, LocalLimiter(settings.local_share))


def _bounds(settings: AdmissionSettings, num_slots: int) -> LaneBounds:
    return LaneBounds(num_slots, settings.max_queued, settings.max_queued_per_tenant, settings.batch_ageing_s)
