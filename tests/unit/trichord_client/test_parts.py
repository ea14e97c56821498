"""Messages and their parts."""

from __future__ import annotations

from pathlib import Path

from trichord.client import assistant, audio, embedding, handle, image, image_url, system, user
from trichord.v1 import decoder_pb2, tensor_pb2


def test_messages_say_who_speaks_and_keep_the_order_of_parts() -> None:
    assert system("Be brief.").role == decoder_pb2.ROLE_SYSTEM
    assert assistant("Yes.").role == decoder_pb2.ROLE_ASSISTANT
    message = user("before", image(b"I"), audio(b"A"), "after")
    assert message.role == decoder_pb2.ROLE_USER
    assert [part.WhichOneof("part") for part in message.parts] == ["text", "image_bytes", "audio_bytes", "text"]
    assert (message.parts[1].image_bytes, message.parts[2].audio_bytes) == (b"I", b"A")


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert image(tmp_path / "file").image_bytes == b"content"
    assert audio(tmp_path / "file").audio_bytes == b"content"


def test_media_may_be_elsewhere() -> None:
    encoded = tensor_pb2.Embedding(fingerprint="f")
    parts = [image_url("https://example.com/a.png"), handle("media-1"), embedding(encoded)]
    assert [part.WhichOneof("part") for part in parts] == ["image_url", "media_handle", "embedding"]
    assert (parts[0].image_url, parts[1].media_handle) == ("https://example.com/a.png", "media-1")
    assert parts[2].embedding == encoded
