"""What the gateway's requests need of the rest of the world: services, stores, admission. Made once for a process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission.admission import Admission
from gateway.admission.assembly import open_admission
from gateway.admission.settings import AdmissionSettings
from gateway.backends import Decoder, Encoder, audio_encoder, vision_encoder
from gateway.embeddings.store import EmbeddingStore
from gateway.encoding import ItemEncoder
from gateway.fetch.fetcher import Fetcher
from gateway.fetch.settings import FetchSettings
from gateway.handles.store import HandleStore
from gateway.metrics.live import LIVE, Service, Watched
from gateway.routing.settings import RoutingSettings
from gateway.settings import GatewaySettings
from gateway.sources import MediaSources
from gateway.stores import Stores
from gateway.waking.assembly import Waking, open_waking
from gateway.waking.settings import WakingSettings
from trichord.errors import NotFoundError
from trichord.jobs.usage.reporter import Report, unreported
from trichord.tls import TlsSettings
from trichord.v1 import decoder_pb2, tensor_pb2


@dataclass(frozen=True)
class Cluster:
    """See the module."""

    encoders: Mapping[tensor_pb2.Modality, Encoder]
    decoder: Decoder
    stores: Stores
    admission: Admission
    sources: MediaSources
    item_encoder: ItemEncoder
    waking: Waking
    settings: GatewaySettings
    watched: Watched
    report_usage: Report

    @property
    def handles(self) -> HandleStore:
        """Media by handle."""
        return self.stores.handles

    @property
    def embeddings(self) -> EmbeddingStore:
        """Embeddings by content."""
        return self.stores.embeddings

    async def model(self, name: str, timeout_s: float) -> decoder_pb2.DecoderServiceGetModelResponse:
        """The model served. Raises NotFoundError if ``name`` is another's; an empty one is anyone's."""
        model = await self.decoder.model(timeout_s)
        if name not in ("", model.model):
            raise NotFoundError(f"This deployment serves {model.model!r} only.", field="model")
        return model

    async def close(self) -> None:
        """Lets what is being settled and kept be so, and closes all connections."""
        LIVE.forget(self.watched)
        await self.waking.close()
        await self.admission.close()
        await self.sources.close()
        await asyncio.gather(
            self.decoder.close(), *(encoder.close() for encoder in self.encoders.values()), self.stores.close()
        )


@dataclass(frozen=True)
class ClusterSettings:
    """All that ``connect`` is told."""

    gateway: GatewaySettings
    routing: RoutingSettings
    admission: AdmissionSettings
    fetch: FetchSettings
    tls: TlsSettings
    waking: WakingSettings

    @classmethod
    def from_environment(cls) -> ClusterSettings:
        """Reads all of them. Raises SettingsError."""
        return cls(
            GatewaySettings.from_environment(),
            RoutingSettings.from_environment(),
            AdmissionSettings.from_environment(),
            FetchSettings.from_environment(),
            TlsSettings.from_environment(),
            WakingSettings.from_environment(),
        )


def connect(told: ClusterSettings, report_usage: Report = unreported) -> Cluster:
    """Clients of everything that the settings name; nothing is called yet. Raises SettingsError."""
    limit = told.gateway.max_message_bytes
    stores = Stores.open(told.gateway)
    admission = open_admission(told.admission, stores.state)
    sources = MediaSources(stores.handles, Fetcher(told.fetch))
    encoders = {
        tensor_pb2.MODALITY_IMAGE: vision_encoder(told.gateway.vision, limit, told.routing, told.tls),
        tensor_pb2.MODALITY_AUDIO: audio_encoder(told.gateway.audio, limit, told.routing, told.tls),
    }
    decoder = Decoder(told.gateway.decoder, limit, told.routing, told.tls)
    waking = open_waking(told.waking, encoders, decoder, admission.lanes, stores.state)
    return Cluster(
        encoders=encoders,
        decoder=decoder,
        stores=stores,
        admission=admission,
        sources=sources,
        item_encoder=ItemEncoder(
            encoders, stores.embeddings, admission.lanes, sources, waking.rooms, decoder.accepted_fingerprints
        ),
        waking=waking,
        settings=told.gateway,
        watched=_watched(encoders, decoder, admission, stores),
        report_usage=report_usage,
    )


def _watched(
    encoders: Mapping[tensor_pb2.Modality, Encoder], decoder: Decoder, admission: Admission, stores: Stores
) -> Watched:
    """What metrics look at, from now on until the cluster is closed."""
    services: dict[str, Service] = {
        "vision-encoder": encoders[tensor_pb2.MODALITY_IMAGE],
        "audio-encoder": encoders[tensor_pb2.MODALITY_AUDIO],
        "llm-decoder": decoder,
    }
    LIVE.watch(watched := Watched(services, admission.lanes, stores.embeddings.counters))
    return watched
