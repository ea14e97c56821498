"""``python -m audio_encoder``: serves the audio front until SIGTERM or SIGINT."""

from __future__ import annotations

from audio_encoder.front import AudioFront
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from trichord import logs
from trichord.checkpoint.digest import fingerprint
from trichord.model_config import ModelConfig
from trichord.server import run, serve
from trichord.triton.client import TritonClient


async def main() -> None:
    """Reads the settings, then serves; ready once Triton has encoded a first window."""
    settings = AudioSettings.from_environment()
    logs.configure(settings.log_level)
    config = ModelConfig.read(settings.checkpoint)
    made_by = fingerprint(settings.checkpoint, "audio", settings.dtype or config.dtype)
    triton = TritonClient(settings.triton, settings.max_message_bytes)
    whisper = Whisper(triton, config)
    front = AudioFront(settings, config, made_by, whisper)
    try:
        await serve(front.register, whisper.ready, settings)
    finally:
        front.close()
        await triton.close()


if __name__ == "__main__":
    run(main())
