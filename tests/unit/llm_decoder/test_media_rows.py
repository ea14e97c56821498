from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from llm_decoder.conversation import Image, Sound
from llm_decoder.media_rows import MediaGate
from trichord.errors import FingerprintError, RequestError
from trichord.tensors import Array, to_proto
from trichord.v1.decoder_pb2 import DecoderMessage, DecoderPart
from trichord.v1.tensor_pb2 import Embedding, Tensor

HIDDEN = 8


def messages(*values: Array | Tensor, fingerprint: str = "known") -> list[DecoderMessage]:
    tensors = [value if isinstance(value, Tensor) else to_proto(value) for value in values]
    parts = [DecoderPart(embedding=Embedding(values=tensor, fingerprint=fingerprint)) for tensor in tensors]
    return [DecoderMessage(parts=[DecoderPart(text="a"), *parts])]


def rows(num_rows: int, dtype: object = np.float32, start: float = 0) -> Array:
    return (np.arange(num_rows * HIDDEN).reshape(num_rows, HIDDEN) + start).astype(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["float32", "bfloat16"])
@pytest.mark.parametrize("sent", [np.float32, ml_dtypes.bfloat16])
def test_rows_are_put_one_after_another_in_the_engines_type(engine: str, sent: object) -> None:
    gate = MediaGate(HIDDEN, engine, {"known"})  # type: ignore[arg-type]
    made = gate.rows(messages(rows(4, sent), rows(3, sent, 100)), [Image(0, 0, 4), Sound((1, 2))])
    assert made is not None
    assert made.rows.dtype == {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}[engine]
    assert made.rows.astype(np.float32).tolist() == [*rows(4, sent).tolist(), *rows(3, sent, 100).tolist()]


def test_an_embedding_is_known_by_its_rows_and_not_by_what_is_claimed_of_it() -> None:
    gate = MediaGate(HIDDEN, "float32", {"known"})

    def identity(values: Array) -> str:
        made = gate.rows(messages(values), [Image(0, 0, 4)])
        assert made is not None
        return made.identities[0]

    assert identity(rows(4)) == identity(rows(4))
    assert identity(rows(4)) != identity(rows(4, start=1))


def test_text_has_no_rows() -> None:
    assert MediaGate(HIDDEN, "float32", {"known"}).rows(messages(), []) is None


def test_an_unknown_fingerprint_is_refused() -> None:
    with pytest.raises(FingerprintError) as error:
        MediaGate(HIDDEN, "float32", {"known"}).rows(messages(rows(4), fingerprint="other"), [Image(0, 0, 4)])
    assert error.value.field == "messages[0].parts[1].embedding.fingerprint"


NOT_A_NUMBER, INFINITE = rows(4), rows(4, ml_dtypes.bfloat16)
NOT_A_NUMBER[1, 2], INFINITE[3, 4] = np.nan, np.inf

BAD: dict[str, tuple[Array | Tensor, str]] = {
    "NaN": (NOT_A_NUMBER, "data"),
    "infinite": (INFINITE, "data"),
    "finite in float32 only": (np.full((4, HIDDEN), 3.4e38, np.float32), "data"),
    "rows of another width": (np.zeros((4, HIDDEN + 1), np.float32), "shape"),
    "one dimension": (np.zeros(4 * HIDDEN, np.float32), "shape"),
    "three dimensions": (np.zeros((1, 4, HIDDEN), np.float32), "shape"),
    "fewer rows than the layout": (rows(3), "shape"),
    "more rows than the layout": (rows(5), "shape"),
    "integers": (np.zeros((4, HIDDEN), np.int32), "dtype"),
    "no type": (Tensor(shape=[4, HIDDEN], data=b"\0" * 128), "dtype"),
    "pickle": (Tensor(dtype=1, shape=[4, HIDDEN], data=b"\x80\x04."), "data"),
    "lying shape": (Tensor(dtype=1, shape=[2**62, 2**62], data=b""), "data"),
    "negative shape": (Tensor(dtype=1, shape=[-4, -HIDDEN], data=b"\0" * 128), "shape"),
    "nothing": (Tensor(), "dtype"),
}


@pytest.mark.parametrize(("values", "part"), BAD.values(), ids=BAD.keys())
def test_values_that_the_engine_must_not_see(values: Array | Tensor, part: str) -> None:
    with pytest.raises(RequestError) as error:
        MediaGate(HIDDEN, "bfloat16", {"known"}).rows(messages(values), [Image(0, 0, 4)])
    assert error.value.field == f"messages[0].parts[1].embedding.values.{part}"
