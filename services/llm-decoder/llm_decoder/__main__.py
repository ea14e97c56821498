"""``python -m llm_decoder``: the decoder's front process."""

from __future__ import annotations

import asyncio

from llm_decoder.engine_client import EngineClient
from llm_decoder.front import DecoderFront
from llm_decoder.intake import Intake
from llm_decoder.readiness import readiness
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from trichord import server
from trichord.logs import configure
from trichord.served_model import served_config, served_fingerprint
from trichord.tls import TlsSettings
from trichord.triton import metrics_page
from trichord.triton.client import TritonClient


def load(settings: DecoderSettings) -> tuple[Intake, Vocabulary]:
    """What of the checkpoint the front needs. Reads the encoders' weights once, for their fingerprints.

    Raises CheckpointError if the checkpoint is broken.
    """
    config = served_config(settings)
    vocabulary = Vocabulary.read(settings.checkpoint, config.llm.vocab_size)
    own = [served_fingerprint(settings, config, "vision"), served_fingerprint(settings, config, "audio")]
    return Intake(config, settings, vocabulary, own), vocabulary


async def main() -> None:
    """Serves until told to stop; healthy once the model has generated a token."""
    settings = DecoderSettings.from_environment()
    configure("llm-decoder", settings.log_level)
    intake, vocabulary = await asyncio.to_thread(load, settings)
    triton = TritonClient(settings.triton, settings.max_message_bytes)
    engine = EngineClient(triton, intake.template.stop_ids, settings.backend)
    front = DecoderFront(intake, vocabulary, engine, default_deadline_s=settings.default_deadline_s)
    ready = readiness(engine, intake.template)
    try:
        with metrics_page.carried(settings.triton_metrics):
            await server.serve(front.register, ready, settings, tls=TlsSettings.from_environment())
    finally:
        await triton.close()


if __name__ == "__main__":
    server.run("llm-decoder", main())
