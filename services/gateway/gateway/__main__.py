"""``python -m gateway``: the gateway process."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from gateway.backends import Decoder, audio_encoder, vision_encoder
from gateway.chat import Cluster
from gateway.media_store import MediaStore
from gateway.service import OmniService
from gateway.settings import GatewaySettings
from trichord import server
from trichord.logs import configure
from trichord.v1 import gateway_pb2, gateway_pb2_grpc, tensor_pb2


def connect(settings: GatewaySettings) -> Cluster:
    """Clients of the services that the settings name; nothing is called yet."""
    limit = settings.max_message_bytes
    return Cluster(
        encoders={
            tensor_pb2.MODALITY_IMAGE: vision_encoder(settings.vision, limit),
            tensor_pb2.MODALITY_AUDIO: audio_encoder(settings.audio, limit),
        },
        decoder=Decoder(settings.decoder, limit),
        store=MediaStore(settings.media_store_bytes),
        settings=settings,
    )


async def main() -> None:
    """Serves until told to stop. Ready at once: what is behind degrades, it does not make the gateway unready."""
    settings = GatewaySettings.from_environment()
    configure(settings.log_level)
    cluster = connect(settings)

    def register(grpc_server: grpc.aio.Server) -> Sequence[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(OmniService(cluster), grpc_server)
        return [gateway_pb2.DESCRIPTOR.services_by_name["OmniService"].full_name]

    async def ready() -> bool:
        return True

    try:
        await server.serve(register, ready, settings)
    finally:
        await cluster.close()


if __name__ == "__main__":
    server.run(main())
