"""PutMedia, ListMedia and DeleteMedia: requests checked for what can be told without looking inside, and done."""

from __future__ import annotations

from gateway import page_token
from gateway.handles.store import HandleStore
from trichord.errors import NotFoundError, RequestError
from trichord.v1 import gateway_pb2, tensor_pb2

DEFAULT_TTL_S = 600.0
MAX_TTL_S = 3600.0
DEFAULT_PAGE, MAX_PAGE = 100, 1000

_PLACE = "before:([0-9]{1,18})"


async def put_media(
    request: gateway_pb2.PutMediaRequest, tenant: str, store: HandleStore
) -> gateway_pb2.PutMediaResponse:
    """Keeps the request's media. Raises RequestError for empty media or a ttl out of range, OverloadedError if full."""
    kind = request.WhichOneof("media")
    content: bytes = getattr(request, kind) if kind else b""
    if not content:
        raise RequestError("There is no media to keep.", field=kind or "media")
    modality = tensor_pb2.MODALITY_IMAGE if kind == "image_bytes" else tensor_pb2.MODALITY_AUDIO
    media = await store.put(tenant, modality, content, _ttl_s(request))
    return gateway_pb2.PutMediaResponse(
        media_handle=media.media_handle, expire_time=media.expire_time, content_sha256=media.content_sha256
    )


async def list_media(
    request: gateway_pb2.ListMediaRequest, tenant: str, store: HandleStore
) -> gateway_pb2.ListMediaResponse:
    """A page of the tenant's handles. Raises RequestError for a page size out of range or a token that is none."""
    page_size = page_token.size(request.page_size, DEFAULT_PAGE, MAX_PAGE, "handles")
    after = page_token.read(request.page_token, _PLACE)
    listed = await store.list(tenant, int(after[1]) if after else None, page_size + 1)
    page = listed[:page_size]
    more = len(listed) > page_size
    return gateway_pb2.ListMediaResponse(
        media=[media for _, media in page], next_page_token=page_token.of(f"before:{page[-1].serial}") if more else ""
    )


async def delete_media(
    request: gateway_pb2.DeleteMediaRequest, tenant: str, store: HandleStore
) -> gateway_pb2.DeleteMediaResponse:
    """Forgets a handle. Raises NotFoundError if it is not the tenant's."""
    try:
        await store.delete(tenant, request.media_handle)
    except NotFoundError as error:
        error.at("media_handle")
        raise
    return gateway_pb2.DeleteMediaResponse()


def _ttl_s(request: gateway_pb2.PutMediaRequest) -> float:
    ttl_s = request.ttl.seconds + request.ttl.nanos / 1e9 if request.HasField("ttl") else DEFAULT_TTL_S
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise RequestError("A ttl is 1 second to 1 hour.", field="ttl")
    return ttl_s
