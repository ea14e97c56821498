"""``python -m audio_encoder``: serves the audio front until SIGTERM or SIGINT."""

from __future__ import annotations

from audio_encoder.front import AudioFront
from audio_encoder.settings import AudioSettings
from audio_encoder.whisper import Whisper
from trichord import logs
from trichord.served_model import served_config, served_fingerprint
from trichord.server import run, serve
from trichord.tls import TlsSettings
from trichord.triton import metrics_page
from trichord.triton.client import TritonClient


async def main() -> None:
    """Reads the settings, then serves; ready once Triton has encoded a first window."""
    settings = AudioSettings.from_environment()
    logs.configure("audio-encoder", settings.log_level)
    config = served_config(settings)
    made_by = served_fingerprint(settings, config, "audio")
    triton = TritonClient(settings.triton, settings.max_message_bytes)
    whisper = Whisper(triton, config, settings)
    front = AudioFront(settings, config, made_by, whisper)
    try:
        with metrics_page.carried(settings.triton_metrics):
            await serve(front.register, whisper.ready, settings, tls=TlsSettings.from_environment())
    finally:
        front.close()
        await triton.close()


if __name__ == "__main__":
    run("audio-encoder", main())
