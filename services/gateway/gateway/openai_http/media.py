"""Media inside JSON: data URIs, addresses and base64, each to a part of the contract. Pure.

Sizes are checked before anything is decoded; what the bytes are, the encoders' fronts find out by looking at them.
"""

from __future__ import annotations

import binascii
import re

from gateway.openai_http.refusals import HttpError
from gateway.openai_http.schema import MAX_URL_CHARS
from trichord.v1 import gateway_pb2

_DATA_URI = re.compile(r"data:[^,;]{0,128}(?:;[^,;]{1,64}){0,4};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SLICE_CHARS = 1 << 20
"""Base64 decoded at a time, a multiple of 4: between slices other threads get their turn."""


def image_part(url: str, param: str, max_bytes: int) -> gateway_pb2.Part:
    """An image from its ``url`` member. Raises HttpError."""
    if head := _DATA_URI.match(url):
        return gateway_pb2.Part(image_bytes=decode_base64(url, head.end(), param, max_bytes))
    if not _ADDRESS.match(url):
        message = "An image is data:image/...;base64,... or an http(s) address."
        raise HttpError(message, code="invalid_image_url", param=param)
    if len(url) > MAX_URL_CHARS:
        raise HttpError(f"An address has at most {MAX_URL_CHARS} characters.", code="invalid_image_url", param=param)
    return gateway_pb2.Part(image_url=url)


def audio_part(data: str, param: str, max_bytes: int) -> gateway_pb2.Part:
    """A sound from its ``data`` member. Raises HttpError."""
    return gateway_pb2.Part(audio_bytes=decode_base64(data, 0, param, max_bytes))


def decode_base64(text: str, start: int, param: str, max_bytes: int) -> bytes:
    """The bytes that ``text`` from ``start`` on stands for (RFC 4648 section 4, padded). Raises HttpError."""
    num_chars = len(text) - start
    if num_chars // 4 * 3 > max_bytes + 2:
        raise HttpError(f"An image or sound has at most {max_bytes} bytes.", code="media_too_large", param=param)
    ends = range(start, len(text), _SLICE_CHARS)
    try:
        decoded = b"".join(_decode_slice(text[at : at + _SLICE_CHARS], at == ends[-1]) for at in ends)
    except (binascii.Error, ValueError) as error:
        message = "This is not base64: padded, in the standard alphabet, without line breaks."
        raise HttpError(message, code="invalid_base64", param=param) from error
    if not decoded:
        raise HttpError("There are no bytes here.", code="invalid_base64", param=param)
    return decoded


def _decode_slice(text: str, is_last: bool) -> bytes:
    if not is_last and text.endswith("="):
        raise ValueError("padding before the end")
    return binascii.a2b_base64(text, strict_mode=True)
