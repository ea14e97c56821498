"""Makes what holds requests and tells the demand, from settings. The only module here that knows them all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from gateway.admission.lanes import Lanes
from gateway.backends import Decoder, Encoder
from gateway.waking.demand_meter import DemandMeter, Metered, Source
from gateway.waking.publisher import Publisher
from gateway.waking.room import HeldBytes, RoomBounds, WaitingRoom
from gateway.waking.rooms import WaitingRooms
from gateway.waking.settings import WakingSettings
from gateway.waking.startup import Startup
from trichord.demand import Modality
from trichord.redis_link import RedisLink
from trichord.v1 import tensor_pb2

IMAGE, AUDIO = tensor_pb2.MODALITY_IMAGE, tensor_pb2.MODALITY_AUDIO
_NAMES: Mapping[tensor_pb2.Modality, Modality] = {IMAGE: "vision", AUDIO: "audio"}


@dataclass(frozen=True)
class Waking:
    """What runs of it in one gateway."""

    rooms: WaitingRooms
    publisher: Publisher | None
    """None where no autoscaler listens."""

    def tell_of(self, source: Source) -> None:
        """Has that demand published too, where an autoscaler listens."""
        if self.publisher:
            self.publisher.meter.add(source)

    async def close(self) -> None:
        """Ends its background work."""
        await self.rooms.close()
        if self.publisher:
            await self.publisher.close()


def open_waking(
    settings: WakingSettings,
    encoders: Mapping[tensor_pb2.Modality, Encoder],
    decoder: Decoder,
    lanes: Lanes,
    link: RedisLink,
) -> Waking:
    """Rooms before the encoders, and a publisher that has begun; neither where no autoscaler listens."""
    if not settings.autoscaled:
        return Waking(WaitingRooms({}), None)
    metered: dict[Modality, Metered] = {"decoder": Metered(decoder, lanes.load("text"), None)}
    publisher = Publisher(link, secrets.token_hex(8), DemandMeter(metered), settings.publish_interval_s)
    held_bytes = HeldBytes(settings.max_held_bytes)
    bounds = RoomBounds(settings.max_held, settings.notice_interval_s)
    rooms = {
        modality: WaitingRoom(
            modality,
            encoder,
            bounds,
            held_bytes,
            Startup(settings.startup_s),
            partial(publisher.wake, _NAMES[modality]),
        )
        for modality, encoder in encoders.items()
    }
    metered["vision"] = Metered(encoders[IMAGE], lanes.load("image"), rooms[IMAGE])
    metered["audio"] = Metered(encoders[AUDIO], lanes.load("audio"), rooms[AUDIO])
    publisher.start()
    return Waking(WaitingRooms(rooms), publisher)
