"""Data URIs, addresses and base64."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai_http import media
from gateway.openai_http.refusals import HttpError


@given(st.binary(min_size=1, max_size=64))
def test_base64_comes_back_as_bytes(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    assert media.decode_base64(text, 0, "p", len(content)) == content
    assert media.image_part(f"DATA:Image/PNG;charset=x;BASE64,{text}", "p", 64).image_bytes == content
    assert media.audio_part(text, "p", 64).audio_bytes == content


def test_slices_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_SLICE_CHARS", 4)
    for size in range(1, 20):
        content = bytes(range(size))
        assert media.decode_base64(base64.b64encode(content).decode(), 0, "p", 99) == content
    with pytest.raises(HttpError, match="not base64"):
        media.decode_base64("QQ==QUJD", 0, "p", 99)


@pytest.mark.parametrize("text", ["QQ", "QQ=", "Q Q=", "QQ==\n", "QR==QQ==", "Q-_=", "QÄ==", "=QQ=", "", "ab\x00="])
def test_what_is_not_strict_base64_is_refused(text: str) -> None:
    with pytest.raises(HttpError) as caught:
        media.audio_part(text, "messages[0].content[1].input_audio", 99)
    assert caught.value.openai_code == "invalid_base64"
    assert caught.value.field == "messages[0].content[1].input_audio"


def test_size_is_checked_before_anything_is_decoded() -> None:
    with pytest.raises(HttpError) as caught:
        media.audio_part("!" * 400, "p", 99)
    assert caught.value.openai_code == "media_too_large"
    assert media.audio_part(base64.b64encode(b"x" * 99).decode(), "p", 99).audio_bytes == b"x" * 99


def test_addresses_are_passed_on_for_the_gateway_to_judge() -> None:
    address = "HTTPS://images.example/a.png?x=1"
    assert media.image_part(address, "p", 9).image_url == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "data:image/png,abc",
        "data:image/png;base64",
        " data:image/png;base64,QQ==",
        "ftp://images.example/a.png",
        "https://images.example/" + "a" * 9000,
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(HttpError) as caught:
        media.image_part(url, "p", 99)
    assert caught.value.openai_code == "invalid_image_url"
