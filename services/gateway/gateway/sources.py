"""Where the bytes of media come from: the request itself, a handle, or an address. Knows nothing of what they are."""

from __future__ import annotations

import asyncio
import time

from gateway import conversation
from gateway.caller import Caller
from gateway.conversation import Item, Place
from gateway.fetch.fetcher import Fetcher
from gateway.handles.store import HandleStore
from gateway.metrics.media import fetching
from trichord.errors import TrichordError
from trichord.telemetry import names, spans
from trichord.v1 import gateway_pb2, tensor_pb2


class MediaSources:
    """All of them."""

    def __init__(self, handles: HandleStore, fetcher: Fetcher) -> None:
        self._handles, self._fetcher = handles, fetcher

    async def items(self, request: gateway_pb2.ChatRequest, tenant: str) -> list[Item]:
        """The media of a request in their order; those at an address without their bytes yet.

        Raises NotFoundError naming the part whose handle is not there, RequestError naming the one whose address is not
        fetched, or UnavailableError.
        """
        places = conversation.media_places(request)
        return list(await asyncio.gather(*(self._item(place, tenant) for place in places)))

    def check(self, request: gateway_pb2.ChatRequest) -> None:
        """Looks at addresses as ``items`` does. Raises RequestError naming the part whose address is not fetched."""
        for place in conversation.media_places(request):
            if place.part.WhichOneof("part") == "image_url":
                self._of_url(place)

    async def fetched(self, item: Item, caller: Caller) -> Item:
        """The same item with its bytes. Raises what ``Fetcher.fetch`` does."""
        if not item.url:
            return item
        started = time.perf_counter()
        with spans.span("fetch"), fetching():
            content = await self._fetcher.fetch(item.url, caller.deadline.hop_s())
        return item._replace(content=content, fetch_ms=(time.perf_counter() - started) * 1e3)

    async def close(self) -> None:
        """Closes every connection to hosts."""
        await self._fetcher.close()

    async def _item(self, place: Place, tenant: str) -> Item:
        part = place.part
        match part.WhichOneof("part"):
            case "image_bytes":
                return Item.at(place, tensor_pb2.MODALITY_IMAGE, part.image_bytes)
            case "audio_bytes":
                return Item.at(place, tensor_pb2.MODALITY_AUDIO, part.audio_bytes)
            case "image_url":
                return self._of_url(place)
        return await self._of_handle(place, tenant)

    def _of_url(self, place: Place) -> Item:
        url = place.part.image_url
        try:
            self._fetcher.check(url)
        except TrichordError as error:
            error.at(place.field)
            raise
        return Item.at(place, tensor_pb2.MODALITY_IMAGE)._replace(url=url)

    async def _of_handle(self, place: Place, tenant: str) -> Item:
        started = time.perf_counter()
        try:
            with spans.span("fetch", attributes={names.PART: place.field}):
                media = await self._handles.get(tenant, place.part.media_handle)
        except TrichordError as error:
            error.at(place.field)
            raise
        found = Item.at(place, media.modality, media.content)
        return found._replace(fetch_ms=(time.perf_counter() - started) * 1e3)
