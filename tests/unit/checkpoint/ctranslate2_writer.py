"""Writes a Whisper encoder of one narrow layer in CTranslate2's binary format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH = 4
TYPE_IDS = {"<f4": 0, "|i1": 1, "<i2": 2, "<i4": 3, "<f2": 4}


def text(value: str) -> bytes:
    return (len(value) + 1).to_bytes(2, "little") + value.encode() + b"\0"


def variable(name: str, value: np.ndarray) -> bytes:
    shape = b"".join(size.to_bytes(4, "little") for size in value.shape)
    kind = bytes([TYPE_IDS[value.dtype.str]]) + value.nbytes.to_bytes(4, "little")
    return text(name) + bytes([value.ndim]) + shape + kind + value.tobytes()


def model(variables: dict[str, np.ndarray], version: int = 6, specification: str = "WhisperSpec") -> bytes:
    head = version.to_bytes(4, "little") + text(specification) + (3).to_bytes(4, "little")
    return head + len(variables).to_bytes(4, "little") + b"".join(variable(n, v) for n, v in variables.items())


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float16)


def one_layer() -> dict[str, np.ndarray]:
    attention_bias = numbers(3 * WIDTH)
    attention_bias[WIDTH : 2 * WIDTH] = 0
    layer = {
        "self_attention/linear_0/weight": numbers(3 * WIDTH, WIDTH),
        "self_attention/linear_0/bias": attention_bias,
        "self_attention/linear_1/weight": numbers(WIDTH, WIDTH),
        "self_attention/linear_1/bias": numbers(WIDTH),
        "self_attention/layer_norm/gamma": numbers(WIDTH),
        "self_attention/layer_norm/beta": numbers(WIDTH),
        "ffn/layer_norm/gamma": numbers(WIDTH),
        "ffn/layer_norm/beta": numbers(WIDTH),
        "ffn/linear_0/weight": numbers(4 * WIDTH, WIDTH),
        "ffn/linear_0/bias": numbers(4 * WIDTH),
        "ffn/linear_1/weight": numbers(WIDTH, 4 * WIDTH),
        "ffn/linear_1/bias": numbers(WIDTH),
    }
    outer = {
        "conv1/weight": numbers(WIDTH, 80, 3),
        "conv1/bias": numbers(WIDTH),
        "conv2/weight": numbers(WIDTH, WIDTH, 3),
        "conv2/bias": numbers(WIDTH),
        "position_encodings/encodings": numbers(1500, WIDTH),
        "layer_norm/gamma": numbers(WIDTH),
        "layer_norm/beta": numbers(WIDTH),
        "num_heads": np.asarray(2, "<i2"),
    }
    encoder = outer | {f"layer_0/{name}": value for name, value in layer.items()}
    return {"decoder/activation": np.asarray(3, "|i1")} | {f"encoder/{name}": v for name, v in encoder.items()}


def write(directory: Path, content: bytes) -> Path:
    (directory / "model.bin").write_bytes(content)
    return directory / "model.bin"
