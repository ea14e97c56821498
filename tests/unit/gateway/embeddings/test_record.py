"""Records: what is sealed comes out as it went in, and nothing else ever comes out."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from gateway.embeddings.record import CorruptRecordError, Outcome, Sealer, UnfitError
from tests.unit.gateway.embeddings.made import AUDIO, IMAGE, audio, image
from trichord.errors import MediaError
from trichord.tensors import BFLOAT16, to_proto
from trichord.v1 import tensor_pb2

SEALER = Sealer(b"secret")
IMAGE_KEY = SEALER.key("a", IMAGE, b"pixels", "vision")
AUDIO_KEY = SEALER.key("a", AUDIO, b"samples", "audio")
RECORDS = {
    "image": (IMAGE_KEY, SEALER.seal(IMAGE_KEY, image(IMAGE_KEY))),
    "audio": (AUDIO_KEY, SEALER.seal(AUDIO_KEY, audio(AUDIO_KEY))),
    "refusal": (IMAGE_KEY, SEALER.seal(IMAGE_KEY, MediaError("The image is cut short. Send all of it."))),
}

int32 = st.integers(-(1 << 31), (1 << 31) - 1)


@st.composite
def embeddings(draw: st.DrawFn) -> tensor_pb2.Embedding:
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    words = draw(np_st.arrays(np.uint16, (shape[0], shape[1] * 2)))
    rows = words.view(np.float32) if draw(st.booleans()) else words[:, : shape[1]].copy().view(BFLOAT16)
    if draw(st.booleans()):
        grid = tensor_pb2.ImageGrid(
            cols=draw(int32), rows=draw(int32), tokens_per_tile=draw(int32), width=draw(int32), height=draw(int32)
        )
        return tensor_pb2.Embedding(values=to_proto(rows), modality=IMAGE, grid=grid)
    windows = tensor_pb2.AudioWindows(
        tokens=draw(st.lists(int32, max_size=9)), seconds=draw(st.floats(allow_nan=False))
    )
    return tensor_pb2.Embedding(values=to_proto(rows), modality=AUDIO, windows=windows)


@hypothesis.given(embeddings(), st.binary(), st.text(), st.text())
def test_an_embedding_comes_out_as_it_went_in(
    embedding: tensor_pb2.Embedding, content: bytes, tenant: str, fingerprint: str
) -> None:
    key = SEALER.key(tenant, embedding.modality, content, fingerprint)
    embedding.fingerprint, embedding.content_sha256 = key.fingerprint, key.content_sha256
    assert SEALER.open(key, SEALER.seal(key, embedding)) == embedding


@hypothesis.given(st.text())
def test_a_refusal_comes_out_as_it_went_in(message: str) -> None:
    refusal = SEALER.open(IMAGE_KEY, SEALER.seal(IMAGE_KEY, MediaError(message, field="image")))
    assert type(refusal) is MediaError
    assert (refusal.message, refusal.field) == (message, "")


def opened(key: object, record: object) -> Outcome | None:
    try:
        return SEALER.open(key, record)  # type: ignore[arg-type]
    except CorruptRecordError:
        return None


@pytest.mark.parametrize("kind", RECORDS)
def test_no_changed_byte_opens(kind: str) -> None:
    key, record = RECORDS[kind]
    assert opened(key, record) is not None
    for i in range(len(record)):
        for flipped in (0x01, 0x80, 0xFF):
            changed = record[:i] + bytes([record[i] ^ flipped]) + record[i + 1 :]
            assert opened(key, changed) is None


@pytest.mark.parametrize("kind", RECORDS)
def test_nothing_cut_short_or_drawn_out_opens(kind: str) -> None:
    key, record = RECORDS[kind]
    assert all(opened(key, record[:length]) is None for length in range(len(record)))
    assert all(opened(key, record + more) is None for more in (b"\x00", record))


@hypothesis.given(st.binary(max_size=300) | st.none() | st.integers() | st.text() | st.lists(st.binary()))
def test_nothing_else_opens(answer: object) -> None:
    assert opened(IMAGE_KEY, answer) is None


def test_a_record_opens_under_its_own_key_only() -> None:
    others = [
        SEALER.key("b", IMAGE, b"pixels", "vision"),
        SEALER.key("a", IMAGE, b"other pixels", "vision"),
        SEALER.key("a", IMAGE, b"pixels", "another vision"),
        SEALER.key("a", AUDIO, b"pixels", "vision"),
    ]
    assert len({IMAGE_KEY.digest, *(key.digest for key in others)}) == 5
    assert all(opened(key, RECORDS["image"][1]) is None for key in others)


def test_a_record_opens_under_its_own_secret_only() -> None:
    other = Sealer(b"other secret")
    key = other.key("a", IMAGE, b"pixels", "vision")
    assert key.digest != IMAGE_KEY.digest
    assert opened(IMAGE_KEY, other.seal(IMAGE_KEY, image(IMAGE_KEY))) is None


def test_no_two_lists_of_parts_make_one_key() -> None:
    assert SEALER.key("a", IMAGE, b"x", "bc").digest != SEALER.key("ab", IMAGE, b"x", "c").digest


@pytest.mark.parametrize(
    "change",
    [
        tensor_pb2.Embedding(fingerprint="of an encoder rolled out since"),
        tensor_pb2.Embedding(modality=AUDIO),
        tensor_pb2.Embedding(windows=tensor_pb2.AudioWindows(tokens=[6])),
        tensor_pb2.Embedding(values=tensor_pb2.Tensor(shape=[1])),
        tensor_pb2.Embedding(values=tensor_pb2.Tensor(data=b"x")),
        tensor_pb2.Embedding(values=tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_INT32)),
    ],
)
def test_an_embedding_of_another_form_is_not_sealed(change: tensor_pb2.Embedding) -> None:
    embedding = image(IMAGE_KEY)
    embedding.MergeFrom(change)
    with pytest.raises(UnfitError):
        SEALER.seal(IMAGE_KEY, embedding)


def test_a_record_holds_every_field_of_the_contract() -> None:
    """Whoever adds a field there adds it to the record, and raises its version."""
    fields = {
        message.DESCRIPTOR.name: [field.name for field in message.DESCRIPTOR.fields]
        for message in (tensor_pb2.Embedding, tensor_pb2.Tensor, tensor_pb2.ImageGrid, tensor_pb2.AudioWindows)
    }
    assert fields == {
        "Embedding": ["values", "fingerprint", "content_sha256", "modality", "grid", "windows"],
        "Tensor": ["dtype", "shape", "data"],
        "ImageGrid": ["cols", "rows", "tokens_per_tile", "width", "height"],
        "AudioWindows": ["tokens", "seconds"],
    }
