"""``python -m vision_encoder``: the vision encoder's front process."""

from __future__ import annotations

import asyncio

from trichord import server
from trichord.logs import configure
from trichord.served_model import served_config, served_fingerprint
from trichord.tls import TlsSettings
from trichord.triton import metrics_page
from trichord.triton.client import TritonClient
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer
from vision_encoder.readiness import readiness
from vision_encoder.settings import VisionSettings


async def main() -> None:
    """Serves until told to stop; healthy once the model has encoded an image. Raises CheckpointError."""
    settings = VisionSettings.from_environment()
    configure("vision-encoder", settings.log_level)
    config = served_config(settings)
    own_fingerprint = await asyncio.to_thread(served_fingerprint, settings, config, "vision")
    preparer = Preparer(config, settings)
    triton = TritonClient(settings.triton, settings.max_message_bytes)
    front = VisionFront(config, own_fingerprint, preparer, triton, settings)
    try:
        with metrics_page.carried(settings.triton_metrics):
            await server.serve(front.register, readiness(front, triton), settings, tls=TlsSettings.from_environment())
    finally:
        preparer.close()
        await triton.close()


if __name__ == "__main__":
    server.run("vision-encoder", main())
