"""``python -m vision_encoder``: the vision encoder's front process."""

from __future__ import annotations

import asyncio

from trichord import server
from trichord.checkpoint.digest import fingerprint
from trichord.logs import configure
from trichord.model_config import ModelConfig
from trichord.triton.client import TritonClient
from vision_encoder.front import VisionFront
from vision_encoder.prepare import Preparer
from vision_encoder.readiness import Readiness
from vision_encoder.settings import VisionSettings


async def main() -> None:
    """Serves until told to stop; healthy once the model has encoded an image. Raises CheckpointError."""
    settings = VisionSettings.from_environment()
    configure(settings.log_level)
    config = ModelConfig.read(settings.checkpoint)
    dtype = settings.dtype or config.dtype
    own_fingerprint = await asyncio.to_thread(fingerprint, settings.checkpoint, "vision", dtype)
    preparer = Preparer(config, settings)
    triton = TritonClient(settings.triton, settings.max_message_bytes)
    front = VisionFront(config, own_fingerprint, preparer, triton, settings)
    try:
        await server.serve(front.register, Readiness(front, triton), settings)
    finally:
        preparer.close()
        await triton.close()


if __name__ == "__main__":
    server.run(main())
